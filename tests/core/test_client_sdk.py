"""The SDK without a broker: whose replies count, in which order, and what the end is."""

import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.client import Client
from producers.client.core import addressed, checked, id_of_content, new_job_id, one_shot
from producers.client.download import store_of
from producers.client.inbox import MOST_UNWATCHED, Inbox
from producers.client.story import NoVideo, Story, submission_id
from schemas.errors import InvalidMessage, JobRejected, Transient
from schemas.events import JobReply, PublishedFile, Reason
from schemas.plan import Origin

REASON = Reason(code="invalid_request", message="no", field="lane")


def reply(job_id: str, sequence: int, kind: str = "accepted", state: str = "accepted", **more: object) -> JobReply:
    return JobReply(
        id=f"{job_id}-{sequence}-{kind}", type=kind, tenant="default", job_id=job_id, job=f"default/{job_id}",
        sequence=sequence, at_ms=sequence, state=state, **more,
    )  # type: ignore[arg-type]  # fmt: skip


def test_the_same_content_is_the_same_job_and_other_content_is_not() -> None:
    ball = one_shot("a red ball", duration_s=2)
    same = {"shots": [{"prompt": "a red ball", "duration_s": 2.0, "negative_prompt": ""}], "lane": "standard"}
    assert id_of_content(ball) == id_of_content(same)
    ids = {id_of_content(ball), id_of_content({**same, "lane": "bulk"}), id_of_content({**same, "tenant": "acme"})}
    assert len(ids) == 3
    assert checked({**same, "job_id": id_of_content(ball)}, new_job_id).job_id == id_of_content(ball)


def test_a_client_sends_for_its_tenant_only() -> None:
    assert addressed({"shots": []}, "acme", "r")["tenant"] == "acme"
    assert addressed(one_shot("x", duration_s=1), "acme", "r")["tenant"] == "acme"
    assert addressed({"reply_topic": "mine"}, "acme", "r")["reply_topic"] == "mine"
    with pytest.raises(InvalidMessage, match="globex"):
        addressed({"tenant": "globex"}, "acme", "r")


@given(st.lists(st.integers(1, 6), max_size=20))
def test_replies_are_told_once_and_in_order(sequences: list[int]) -> None:
    inbox, story = Inbox(), Story("a")
    for number in sequences:
        inbox.deliver(reply("a", number))
    told = story.tell(inbox.known("a")) + story.tell(inbox.known("a"))
    assert [r.sequence for r in told] == sorted(set(sequences))


def test_what_comes_after_the_end_is_not_told() -> None:
    story = Story("a")
    news = story.tell([reply("a", 1), reply("a", 2, "rejected", "rejected", reason=REASON), reply("a", 3, "deleted")])
    assert [r.type for r in news] == ["accepted", "rejected"]
    with pytest.raises(JobRejected) as caught:
        story.result()
    assert (caught.value.code, caught.value.field) == ("invalid_request", "lane")


def test_a_deletion_that_is_known_is_the_end_of_a_finished_job() -> None:
    story = Story("a")
    story.tell([reply("a", 1, "finished", "completed"), reply("a", 2, "deleted", "deleted", reason=REASON)])
    with pytest.raises(NoVideo, match="job a is deleted"):
        story.result()


OURS, THEIRS = (Origin(ce_id=submission_id("a", hash * 64)) for hash in "12")


@pytest.mark.parametrize("origin", [THEIRS, Origin(ce_id="another-tool"), Origin()])
def test_the_refusal_of_somebody_elses_request_is_not_taken_for_ours(origin: Origin) -> None:
    conflict = reply("a", 1, "rejected", "accepted", reason=REASON, origin=origin)
    for ce_id in (OURS.ce_id, ""):
        story = Story("a", ce_id)
        assert (story.tell([conflict]), story.ended) == ([], False)


def test_the_refusal_of_our_second_request_is_ours() -> None:
    story = Story("a", OURS.ce_id)
    assert story.tell([reply("a", 1, "rejected", "accepted", reason=REASON, origin=OURS)])
    with pytest.raises(JobRejected):
        story.result()


@pytest.mark.parametrize(("kind", "state"), [("finished", "completed"), ("rejected", "rejected")])
def test_what_became_of_another_request_under_our_id_is_not_taken_for_ours(kind: str, state: str) -> None:
    """It ended before ours was sent: neither its video nor its fault is the answer to ours."""
    inbox, story = Inbox(), Story("a", OURS.ce_id)
    for told in (reply("a", 1, origin=THEIRS), reply("a", 8, kind, state, reason=REASON, origin=THEIRS)):
        inbox.deliver(told)
    assert story.tell(inbox.known("a")) == []
    conflict = reply("a", 8, "rejected", state, reason=REASON, origin=OURS)
    inbox.deliver(conflict)
    assert story.tell(inbox.known("a")) == [conflict]


def test_an_end_that_another_tool_was_told_is_ours_too() -> None:
    story = Story("a", OURS.ce_id)
    assert story.tell([reply("a", 8, "finished", "completed", origin=Origin(ce_id="batch-7"))])
    assert story.ended


@pytest.mark.parametrize("state", ["failed", "cancelled", "expired"])
def test_an_end_without_a_video_says_which(state: str) -> None:
    story = Story("a")
    story.tell([reply("a", 2, "finished", state, reason=REASON)])
    with pytest.raises(NoVideo, match=f"job a is {state}") as caught:
        story.result()
    assert (caught.value.state, caught.value.reason) == (state, REASON)


def test_a_time_out_says_where_the_job_stands() -> None:
    story = Story("a")
    assert str(story.late(5)) == "job a has got no answer after 5 s"
    story.tell([reply("a", 1, "started", "rendering")])
    assert str(story.late(5)) == "job a is rendering after 5 s"


def test_memory_is_bounded_and_what_is_watched_is_kept() -> None:
    inbox = Inbox()
    inbox.watch("kept")
    inbox.deliver(reply("kept", 1))
    for number in range(MOST_UNWATCHED + 500):
        inbox.deliver(reply(f"j{number}", 1))
    assert inbox.known("j0") == []
    assert len(inbox.known("kept")) == 1
    inbox.forget("kept")
    inbox.deliver(reply("another", 1))
    assert inbox.known("kept") == []


def test_whoever_waits_is_woken_by_a_reply_and_by_a_fault() -> None:
    inbox = Inbox()
    threading.Timer(0.05, inbox.deliver, [reply("a", 1)]).start()
    assert [r.sequence for r in inbox.wait("a", 0, 30)] == [1]
    assert inbox.wait("a", 1, 0) == []
    threading.Timer(0.05, inbox.fail, [Transient("gone")]).start()
    with pytest.raises(Transient, match="gone"):
        inbox.wait("a", 1, 30)
    assert len(inbox.wait("a", 0, 0)) == 1, "what is known can still be read"


def test_many_forgotten_jobs_are_dropped() -> None:
    inbox = Inbox()
    jobs = [f"j{number}" for number in range(MOST_UNWATCHED + 500)]
    for job_id in jobs:
        inbox.watch(job_id)
        inbox.deliver(reply(job_id, 1))
    for job_id in jobs:
        inbox.forget(job_id)
    inbox.deliver(reply("last", 1))
    assert sum(bool(inbox.known(job_id)) for job_id in [*jobs, "last"]) == MOST_UNWATCHED
    assert inbox.known("last")


def test_a_request_beside_fields_is_refused() -> None:
    with pytest.raises(TypeError, match="job_id"):
        Client("127.0.0.1:1").submit(one_shot("x", duration_s=1), job_id="mine")


@pytest.mark.parametrize(("job_id", "reason", "field"), [("a/b", "", "job_id"), ("a", "x" * 501, "reason")])
def test_a_wrong_order_is_refused_before_it_is_sent(job_id: str, reason: str, field: str) -> None:
    with pytest.raises(InvalidMessage, match=field):
        Client("127.0.0.1:1").cancel(job_id, reason)


def test_a_closed_client_sends_nothing() -> None:
    with Client("127.0.0.1:1") as client:
        pass
    with pytest.raises(Transient, match="the client is closed"):
        client.submit(one_shot("x", duration_s=1))
    with pytest.raises(Transient, match="the client is closed"):
        client.job("x").wait(1)


@pytest.mark.parametrize(
    ("uri", "store"),
    [
        ("s3://bucket/p/videos/u/video.mp4", "s3://bucket/p"),
        ("s3://bucket/videos/u/video.mp4", "s3://bucket"),
        ("file:///data/my%20store/videos/u/video.mp4", "/data/my store"),
    ],
)
def test_the_store_of_a_file_is_its_address_without_its_key(uri: str, store: str) -> None:
    file = PublishedFile(uri=uri, key="videos/u/video.mp4", sha256="0" * 64, size_bytes=1, content_type="video/mp4")
    assert store_of(file) == store


@pytest.mark.parametrize("uri", ["https://x/videos/u/video.mp4", "s3://bucket/other.mp4", "videos/u/video.mp4", ""])
def test_an_address_of_another_kind_is_refused(uri: str) -> None:
    file = PublishedFile(uri=uri, key="videos/u/video.mp4", sha256="0" * 64, size_bytes=1, content_type="video/mp4")
    with pytest.raises(InvalidMessage, match="uri"):
        store_of(file)


def test_the_sdk_pulls_in_nothing_heavy() -> None:
    code = "import sys, producers.client; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    heavy = {"torch", "diffusers", "faust", "cv2", "av", "numpy", "boto3", "pyarrow", "typer", "rich", "cryptography"}
    assert not loaded & heavy
