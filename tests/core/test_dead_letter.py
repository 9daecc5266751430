"""Headers of dead letters."""

from hypothesis import given
from hypothesis import strategies as st

from ops.bus.dead_letter import FIRST_FAILED_AT, MAX_MESSAGE_BYTES, headers, printable
from schemas.errors import InvalidMessage
from schemas.records import Incoming
from stream_processors.moderate.identity import IdentityRefused

ORIGINAL = (("ce_id", b"1"), ("note", b"\xff\n"), ("note", b"2"))
RECORD = Incoming("reelbus.a.v1", 3, 42, b"k", b"v", ORIGINAL, 5)


def test_origin_and_reason_follow_the_original_headers() -> None:
    made = headers(RECORD, "reelbus.split", "split", InvalidMessage("x: wrong"), 1_000)
    assert made[:3] == ORIGINAL
    assert dict(made[3:]) == {
        "__dlq.errors.topic": b"reelbus.a.v1",
        "__dlq.errors.partition": b"3",
        "__dlq.errors.offset": b"42",
        "__dlq.errors.group": b"reelbus.split",
        "__dlq.errors.message": b"x: wrong",
        "reelbus.error.class": b"InvalidMessage",
        "reelbus.error.stage": b"split",
        "reelbus.error.code": b"invalid_message",
        "reelbus.error.first-failed-at": b"1000",
    }


def test_a_replayed_letter_keeps_its_first_failure_and_gets_no_headers_twice() -> None:
    first = headers(RECORD, "g", "split", InvalidMessage("one"), 1_000)
    again = headers(Incoming("b", 0, 7, b"k", b"v", first, 6), "g", "track", IdentityRefused("own", "two"), 2_000)
    assert len(again) == len(first)
    named = dict(again)
    assert named[FIRST_FAILED_AT] == b"1000"
    assert (named["__dlq.errors.message"], named["__dlq.errors.offset"]) == (b"own: two", b"7")
    assert (named["reelbus.error.stage"], named["reelbus.error.code"]) == (b"track", b"own")


@given(st.text(max_size=2000))
def test_a_message_is_one_printable_line_of_bounded_size(text: str) -> None:
    line = printable(text)
    assert len(line.encode()) <= MAX_MESSAGE_BYTES
    assert line.splitlines() in ([line], [])
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line)


def test_control_characters_are_shown() -> None:
    assert printable("a\nb\x1b[2J\u2028\ud800") == "a\\u000ab\\u001b[2J\\u2028\\ud800"
    assert printable("é" * 1000).endswith("...")
