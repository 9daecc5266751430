"""The audit trail: what is entered, and that whatever is done to the chain shows."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ops.conduct import conduct
from ops.prompt_policy.likeness import likeness
from schemas.audit import AuditEntry, AuditKind, Check, Head, digest, linked
from schemas.codec import decode, encode
from schemas.events import EventType, JobEvent, JobState, Provenance, PublishedFile, Reason, Video
from schemas.prompts import PromptVerdict
from schemas.reviews import ReviewDecision
from stream_processors.track.auditing import audited
from stream_processors.track.core import take


def entry(number: int) -> AuditEntry:
    return AuditEntry(
        sequence=0, previous="", id=f"event-{number}", kind="accepted", at_ms=number, job=f"default/{number}",
        tenant="default", source="moderate",
    )  # fmt: skip


def chain(length: int, head: Head | None = None) -> tuple[list[bytes], Head]:
    raw, last = [], head or Head()
    for number in range(length):
        made, last = linked(entry(number), last)
        raw.append(encode(made))
    return raw, last


def checked(records: list[bytes], noted: Head | None = None) -> Check:
    check = Check(noted)
    for offset, raw in enumerate(records):
        check.take(offset, raw, None if raw == b"junk" else decode(AuditEntry, raw))
    check.finish(len(records))
    return check


def forged(raw: bytes) -> bytes:
    return encode(replace(decode(AuditEntry, raw), job="default/somebody-else"))


@given(st.integers(0, 30))
def test_a_chain_that_was_left_alone_holds(length: int) -> None:
    records, head = chain(length)
    check = checked(records, head)
    assert (check.broken, check.entries, check.head) == ([], length, head)


@given(st.integers(2, 20).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 2))))
def test_whatever_is_done_to_an_entry_shows(at: tuple[int, int]) -> None:
    length, place = at
    records, _ = chain(length)
    changes: list[Callable[[list[bytes]], object]] = [
        lambda r: r.__setitem__(place, forged(r[place])),
        lambda r: r.insert(place + 1, r[place]),
        lambda r: r.insert(place, b"junk"),
        lambda r: r.__setitem__(slice(place, place + 2), [r[place + 1], r[place]]),
    ]
    if place:
        changes.append(lambda r: r.pop(place))
    for change in changes:
        touched = list(records)
        change(touched)
        assert checked(touched).broken


def test_what_comes_after_a_foreign_record_still_fits() -> None:
    records, _ = chain(4)
    records.insert(2, b"junk")
    assert [(fault.offset, fault.why) for fault in checked(records).broken] == [(2, "is no audit entry")]


def test_the_oldest_may_be_gone_and_the_newest_may_not() -> None:
    records, head = chain(10)
    assert checked(records[4:], head).broken == []
    assert checked(records[:7]).broken == []
    assert checked(records[:7], head).broken[0].why == "ends at number 7; 10 was noted before"
    assert checked([], head).broken
    rewritten, _ = chain(9, chain(1, Head())[1])
    (fault,) = checked(rewritten, Head(5, "0" * 64)).broken
    assert fault.why == "number 5 is another than was noted"


def test_a_first_entry_that_names_one_before_is_no_first_entry() -> None:
    first = encode(replace(entry(1), sequence=1, previous="a" * 64))
    assert checked([first]).broken[0].why == "is the first entry and names one before"


def event(kind: EventType, source: str = "moderate", mark: str = "m", name: str = "") -> JobEvent:
    reason = Reason(code="prompt_refused", message="names no names", field="shots[0].prompt")
    return JobEvent(
        id=f"{kind}-{mark}-{name}", source=source, type=kind, job="acme/a", at_ms=7, fingerprint=mark,
        reason=reason if kind == "job.rejected" else None, prompts=PromptVerdict(verdict="allow", policy="p1"),
    )  # fmt: skip


def trail(*events: JobEvent) -> list[str]:
    state: JobState | None = None
    kinds = []
    for one in events:
        after, _ = take(state, one, 0)
        if (made := audited(state, after, one)) is not None:
            kinds.append(made.kind)
        state = after or state
    return kinds


@pytest.mark.parametrize(
    ("events", "kinds"),
    [
        ([event("job.accepted"), event("job.planned", "split"), event("job.queued", "dispatch")], ["accepted"]),
        ([event("job.accepted"), event("job.accepted")], ["accepted"]),
        ([event("job.rejected"), event("job.rejected")], ["refused"]),
        ([event("job.accepted"), event("job.rejected", mark="other")], ["accepted", "refused"]),
        ([event("job.rejected"), event("job.rejected", mark="2"), event("job.rejected", mark="3")], ["refused"] * 3),
        ([event("job.accepted"), event("job.failed", "mux"), event("job.failed", "track")], ["accepted", "failed"]),
        ([event("job.accepted"), event("job.cancelled", "dispatch")], ["accepted", "cancelled"]),
        ([event("job.accepted"), event("job.expired", "dispatch"), event("job.deleted", "operator")],
         ["accepted", "expired", "deleted"]),
        ([event("job.accepted"), event("job.published", "mux", mark="other")], ["accepted"]),
        ([event("job.accepted"), event("job.review-wanted", "dispatch"), event("job.review-wanted", "dispatch"),
          event("job.review-approved", "dispatch"), event("job.published", "mux")],
         ["accepted", "review", "approved", "published"]),
        ([event("job.accepted"), event("job.cancelled", "dispatch"), event("job.review-wanted", "dispatch")],
         ["accepted", "cancelled"]),
    ],
)  # fmt: skip
def test_what_changed_something_is_entered_once_and_every_refusal(events: list[JobEvent], kinds: list[str]) -> None:
    assert trail(*events) == kinds


def test_a_publication_says_whose_key_signed_it() -> None:
    file = PublishedFile(uri="s3://b/v.mp4", key="v.mp4", sha256="5" * 64, size_bytes=1, content_type="video/mp4")
    made = Provenance(
        model="m", model_revision="r", seeds=(1,), label="AI", mark_payload="0" * 16,
        certificate_sha256="7" * 64, certificate_name="Ours",
    )  # fmt: skip
    video = Video(
        file=file, thumbnail=file, contact_sheet=file, frames=24, duration_s=1.0, width_px=64, height_px=64, fps=24,
        container="mp4", codec="h264", provenance=made,
    )  # fmt: skip
    accepted, _ = take(None, event("job.accepted"), 0)
    published = replace(event("job.published", "mux"), video=video)
    said = audited(accepted, take(accepted, published, 0)[0], published)
    assert said is not None
    assert (said.certificate_sha256, said.certificate_name, said.video_sha256) == ("7" * 64, "Ours", "5" * 64)


def test_who_read_the_texts_and_what_was_suspected_is_in_the_trail() -> None:
    doubt = PromptVerdict(verdict="review", policy="p1", category="violence")
    accepted = replace(event("job.accepted"), prompts=doubt)
    state, _ = take(None, accepted, 0)
    wanted = audited(state, state, replace(event("job.review-wanted", "dispatch"), prompts=doubt))
    assert wanted is not None
    assert (wanted.kind, wanted.category, wanted.moderator) == ("review", "violence", "p1")
    decision = ReviewDecision(job="acme/a", verdict="refuse", objects=("a" * 64,), reason="no stage", by="ada")
    end = replace(
        event("job.rejected", "dispatch"), prompts=replace(doubt, verdict="block"), review=decision
    )  # fmt: skip
    refused = audited(state, take(state, end, 0)[0], end)
    assert refused is not None
    assert (refused.kind, refused.code, refused.category) == ("refused", "prompt_refused", "violence")
    assert (refused.by, refused.why) == ("ada", "no stage")


def test_conduct_is_counted_once_per_request_by_what_moderation_refused() -> None:
    def of(tenant: str, kind: AuditKind, name: str, code: str = "", source: str = "moderate") -> AuditEntry:
        made = replace(entry(int(name)), tenant=tenant, kind=kind, code=code, source=source)
        return replace(made, id=f"{tenant}-{kind}-{name}")

    entries = [
        *(of("good", "accepted", str(n)) for n in range(9)),
        of("good", "refused", "9", "limit_exceeded"),
        of("bad", "accepted", "1"),
        of("bad", "refused", "2", "prompt_refused"),
        of("bad", "refused", "2", "prompt_refused"),
        of("bad", "refused", "1", "frames_refused", "dispatch"),
        of("bad", "accepted", "3"),
    ]
    bad, good = conduct(entries)
    assert (bad.tenant, bad.accepted, bad.refused, bad.refused_content) == ("bad", 2, 2, 2)
    assert (bad.share, bad.refused_at_ms) == (2 / 3, 2)
    assert (good.share, good.accepted, good.refused) == (0.0, 9, 1)
    assert [one.tenant for one in conduct(entries, since_ms=9)] == ["good"]
    assert conduct(entries, forgiven={"bad": 3})[0].refused_content == 0


def test_what_comes_again_after_it_was_refused_is_counted() -> None:
    def of(
        kind: AuditKind, at_ms: int, text: str, source: str = "moderate", code: str = "prompt_refused"
    ) -> AuditEntry:
        made = replace(entry(at_ms), tenant="stubborn", kind=kind, at_ms=at_ms, source=source, code=code)
        return replace(made, id=f"{kind}-{at_ms}", likeness=likeness([text]))

    entries = [
        of("accepted", 1, "an owl sells strawberries", code=""),
        of("accepted", 2, "the captain hides it under a bridge", code=""),
        of("refused", 3, "the captain hides it under a bridge", source="dispatch", code="frames_refused"),
        of("refused", 4, "the c4pt41n hides it under a bridge"),
        of("refused", 5, "a lamp beside a quiet lake"),
        of("accepted", 6, "The captain hides it under bridge", code=""),
        of("refused", 7, "an owl sells strawberries", code="limit_exceeded"),
    ]
    for order in (entries, entries[::-1]):
        (one,) = conduct(order)
        assert (one.refused_content, one.again, one.let_in_again) == (3, 1, 1)
    (one,) = conduct(entries, forgiven={"stubborn": 4})
    assert (one.refused_content, one.again, one.let_in_again) == (2, 0, 1)


def test_only_what_is_let_in_or_refused_for_content_bears_a_likeness() -> None:
    sign = likeness(["a ball"])
    allowed = replace(
        event("job.accepted"), prompts=PromptVerdict(verdict="allow", policy="p1", likeness=sign), reason=None
    )
    state, _ = take(None, allowed, 0)
    assert (entered := audited(None, state, allowed)) is not None
    assert entered.likeness == sign
    late = replace(event("job.rejected"), source="dispatch", prompts=None)
    assert (refused := audited(state, take(state, late, 0)[0], late)) is not None
    assert refused.likeness == sign
    other = replace(event("job.rejected"), id="another", prompts=None)
    assert (taken := audited(state, None, other)) is not None
    assert taken.likeness == ""


def test_what_was_let_in_before_the_time_that_is_looked_at_and_refused_within_it_is_counted() -> None:
    def of(kind: AuditKind, number: int, at_ms: int) -> AuditEntry:
        made = replace(entry(number), tenant="late", kind=kind, at_ms=at_ms, source="dispatch", code="frames_refused")
        return replace(made, job=f"late/{number}", id=f"{kind}-{number}")

    before = [of("accepted", n, 1) for n in range(20)]
    within = [of("refused", n, 10) for n in range(20)]
    (all_refused,) = conduct([*before, *within], since_ms=5)
    assert (all_refused.share, all_refused.refused_content) == (1.0, 20)
    more = [of("accepted", n, 10) for n in range(20, 25)]
    (some,) = conduct([*before, *within, *more], since_ms=5)
    assert some.share == 20 / 25


def test_an_entry_says_who_and_why_and_not_what_was_asked_for() -> None:
    refused = event("job.rejected")
    made = audited(None, take(None, refused, 0)[0], refused)
    assert made is not None
    assert (made.tenant, made.code, made.field, made.moderator) == ("acme", "prompt_refused", "shots[0].prompt", "p1")
    assert b"names no names" not in encode(made)
    assert digest(encode(made)) != digest(encode(replace(made, sequence=1)))
