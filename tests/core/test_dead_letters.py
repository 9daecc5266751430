"""Dead letters as an operator sees them: what is a letter, who may send it again, what may be shown."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.bus import dead_letter
from ops.dead_letters import choice, shown
from ops.dead_letters.letter import Letter, Marker, fold, is_replay, marker_of, sent_again
from ops.dead_letters.replay import obstacle
from schemas.errors import Fatal, InvalidMessage
from schemas.records import Headers, Incoming
from schemas.topics import JOBS_CONTROL, JOBS_EVENTS, JOBS_REQUESTED, LIVE_TOPICS
from tests.bad_input.mutations import seeds_of

TOPIC = JOBS_CONTROL.name("p")
DLQ = f"dlq.{TOPIC}"


def dead(offset: int, value: bytes | None = b"v", own: Headers = (), at_ms: int = 5, code: str = "") -> Incoming:
    error = InvalidMessage("x: wrong")
    if code:
        error.code = code  # type: ignore[attr-defined]
    headers = dead_letter.headers(Incoming(TOPIC, 2, 70 + offset, b"k", value, own, 1), "p.odd", "odd", error, at_ms)
    return Incoming(DLQ, 0, offset, b"k", value, headers, at_ms)


def written(marker: Marker, offset: int) -> Incoming:
    return Incoming(DLQ, 0, offset, None, None, tuple(marker.headers()), 9)


def letter(**more: object) -> Letter:
    return Letter(dead(0, **more), JOBS_CONTROL)  # type: ignore[arg-type]


def test_a_marker_is_read_back_as_it_was_written() -> None:
    marker = Marker("claim", 3, "run", -1, 12, 2, 90)
    found = marker_of(written(marker, 7))
    assert found == Marker("claim", 3, "run", -1, 12, 2, 90, offset=7)


def test_a_stranger_cannot_make_a_letter_pass_for_a_marker() -> None:
    forged = tuple(Marker("done", 0, "run", -1, 12, 2, 90).headers())
    letters: dict[int, Letter] = {}
    fold(letters, JOBS_CONTROL, [dead(0), dead(1, None, forged)])
    assert sorted(letters) == [0, 1]
    assert letters[0].replays == []
    assert letters[1].stage == "odd"


def test_of_two_runs_the_first_claim_counts_and_a_late_word_changes_nothing() -> None:
    one = letter()
    assert one.take(Marker("claim", 0, "a", -1, 1, 2, 9, offset=1))
    assert not one.take(Marker("claim", 0, "b", -1, 2, 2, 9, offset=2))
    assert not one.take(Marker("done", 0, "b", 2, 2, 2, 9, offset=3))
    assert one.claimed is not None
    assert one.claimed.run == "a"
    assert one.take(Marker("claim", 0, "b", 1, 3, 2, 9, offset=4))
    assert not one.take(Marker("done", 0, "a", 1, 3, 2, 9, offset=5))
    assert one.take(Marker("done", 0, "b", 4, 3, 2, 9, offset=6))
    assert [step.run for step in one.replays] == ["b"]
    assert one.claimed is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(("read", "claim", "close"))), max_size=60))
def test_however_runs_interleave_one_sends_a_letter(moves: list[tuple[str, str]]) -> None:
    """Each run reads the log, claims what it takes for free, reads again, and sends when the claim is its own."""
    log: list[Marker] = []
    seen: dict[str, Letter] = {}
    claims: dict[str, int] = {}
    sent: list[str] = []

    def read() -> Letter:
        found = letter()
        for marker in log:
            found.take(marker)
        return found

    for run, move in moves:
        if move == "read":
            seen[run] = read()
        elif move == "claim" and run in seen and seen[run].claimed is None and not obstacle(seen[run], "p", False):
            log.append(Marker("claim", 0, run, seen[run].last, 1, 2, 9, offset=len(log)))
            claims[run] = len(log) - 1
            del seen[run]
        elif move == "close" and run in claims:
            now = read()
            if now.claimed is not None and now.claimed.offset == claims.pop(run):
                sent.append(run)
                log.append(Marker("done", 0, run, now.claimed.offset, 1, 2, 9, offset=len(log)))
    assert len(sent) <= 1


def test_the_record_is_sent_with_its_own_headers_and_says_what_it_is() -> None:
    own = (("note", b"\xff"), ("reelbus-signature", b"v1,k,1,AA=="), ("note", b"2"))
    one = letter(own=own)
    claim = Marker("claim", 0, "a", -1, 1, 2, 9, offset=4)
    headers = sent_again(one, claim)
    assert headers[:3] == own
    assert dict(headers[3:]) == {
        "reelbus.error.first-failed-at": b"5",
        "reelbus.replay.attempt": b"1",
        "reelbus.replay.of": f"{DLQ}:0:0".encode(),
        "reelbus.replay.claim": b"4",
    }
    arrived = Incoming(TOPIC, 2, 99, b"k", b"v", headers, 1)
    assert is_replay(arrived, one, claim)
    assert not is_replay(Incoming(TOPIC, 2, 99, b"k", b"w", headers, 1), one, claim)
    assert not is_replay(arrived, one, Marker("claim", 0, "a", -1, 1, 2, 9, offset=5))


def test_a_letter_that_dies_again_counts_on_and_keeps_its_first_failure() -> None:
    claim = Marker("claim", 0, "a", -1, 1, 2, 9, offset=4)
    again = Incoming(TOPIC, 2, 99, b"k", b"v", sent_again(letter(own=(("note", b"1"),)), claim), 1)
    headers = dead_letter.headers(again, "p.odd", "odd", InvalidMessage("still"), 77)
    second = Letter(Incoming(DLQ, 0, 8, b"k", b"v", headers, 77), JOBS_CONTROL)
    assert (second.attempt, second.header(dead_letter.FIRST_FAILED_AT)) == (1, "5")
    assert second.own_headers() == (("note", b"1"),)
    assert dict(sent_again(second, claim))["reelbus.replay.attempt"] == b"2"


def test_what_cannot_be_sent_says_why() -> None:
    cut = letter(own=())
    cut.record = Incoming(DLQ, 0, 0, b"k", b"v", (*cut.record.headers, ("reelbus.error.cut", b"of 9 bytes")), 5)
    assert "of 9 bytes" in obstacle(cut, "p", True)
    assert "do not say" in obstacle(letter(), "q", False)
    done = letter()
    done.take(Marker("claim", 0, "a", -1, 1, 2, 9, offset=1))
    done.take(Marker("done", 0, "a", 1, 0, 2, 9, offset=2))
    assert "1970-01-01T00:00:00Z" in obstacle(done, "p", False)
    assert obstacle(done, "p", True) == obstacle(letter(), "p", False) == ""


# ---- choosing -------------------------------------------------------------------------------------------------------


def test_topics_and_places_by_any_of_their_names() -> None:
    for text in ("jobs.control", TOPIC, DLQ):
        assert choice.topic_named(text, "p") == JOBS_CONTROL
        assert choice.place_named(f"{text}:0:12", "p") == choice.Place(JOBS_CONTROL, 0, 12)
    for text in ("jobs.control:0", "jobs.control:a:1", "jobs.control:0:-1", "jobs.nothing:0:1", "dispatch.leader:0:1"):
        with pytest.raises(Fatal):
            choice.place_named(text, "p")


def test_moments() -> None:
    assert choice.moment("90s", 100_000) == 10_000
    assert choice.moment("2d", 200_000_000) == 27_200_000
    assert choice.moment("1970-01-01T00:01", 0) == choice.moment("1970-01-01T01:01+01:00", 0) == 60_000
    for text in ("", "soon", "-1h", "1 h"):
        with pytest.raises(Fatal, match="no moment"):
            choice.moment(text, 0)


def test_counts_filters_and_order() -> None:
    letters = [Letter(dead(n, at_ms=n, code="b" if n % 3 else "a"), JOBS_CONTROL) for n in range(6)]
    letters[1].take(Marker("claim", 1, "r", -1, 1, 2, 9, offset=8))
    letters[1].take(Marker("done", 1, "r", 8, 1, 2, 9, offset=9))
    assert choice.counts(letters, "p") == [choice.Count(TOPIC, "odd", "b", 4, 1), choice.Count(TOPIC, "odd", "a", 2, 0)]
    assert [one.record.offset for one in choice.newest_first(letters)] == [5, 4, 3, 2, 1, 0]
    only = choice.Filters(code="b", since_ms=2)
    assert [one.record.offset for one in letters if only.match(one)] == [2, 4, 5]
    assert not choice.Filters(stage="track").match(letters[0])


# ---- showing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", [t for t in LIVE_TOPICS if t.record], ids=lambda t: t.entity)
def test_good_values_of_every_topic_are_decoded(topic) -> None:  # type: ignore[no-untyped-def]
    for raw in seeds_of(topic):
        form, value = shown.value_of(Letter(Incoming("t", 0, 0, b"k", raw, (), 1), topic))
        assert form == "record"
        assert isinstance(value, dict)


def test_values_that_do_not_decode_are_shown_as_far_as_they_go() -> None:
    def form(raw: bytes | None) -> str:
        return shown.value_of(Letter(Incoming("t", 0, 0, b"k", raw, (), 1), JOBS_EVENTS))[0]

    cases = {None: "none", b'{"a": 1}': "json", b"[" * 5000: "text", b"hello": "text", b"\xff": "bytes"}
    assert {raw: form(raw) for raw in cases} == cases


SECRETS = {
    "webhook": {"url": "https://user:hunter2@hooks.example/x?token=hunter2#hunter2"},
    "metadata": {"api_key": "hunter2", "note": "see https://a.example/?hunter2 or Bearer hunter2hunter2hunter2"},
    "list": [{"password": ["hunter2"]}, "whsec_hunter2AAAA"],
}


def test_secrets_are_not_shown() -> None:
    raw = json.dumps(SECRETS).encode()
    own = (
        ("authorization", b"Bearer hunter2"),
        ("reelbus-signature", b"v1,key-1,17,hunter2="),
        ("x-Token", b"hunter2"),
    )
    for value in (raw, raw[:-1]):
        said = json.dumps(shown.whole_letter(Letter(dead(0, value, own), JOBS_REQUESTED["bulk"]), "p"))
        assert "hunter2" not in said
        assert "hooks.example/x" in said
        assert "v1,key-1,17," in said


@given(st.text(), st.binary())
def test_nothing_that_a_terminal_obeys_comes_out(text: str, raw: bytes) -> None:
    own = ((text[:50].encode("utf-8", "replace").decode() or "h", raw),)
    value = json.dumps({text: [text], "x": text}).encode("utf-8", "surrogatepass") if len(raw) % 2 else raw
    record = dead(0, value, own)
    said = shown.whole_letter(Letter(record, JOBS_EVENTS), "p")

    def texts(node: object) -> list[str]:
        if isinstance(node, dict):
            return [t for pair in node.items() for part in pair for t in texts(part)]
        if isinstance(node, list | tuple):
            return [t for part in node for t in texts(part)]
        return [node] if isinstance(node, str) else []

    for shown_text in texts(said):
        assert dead_letter.printable(shown_text, 1 << 20) == shown_text
