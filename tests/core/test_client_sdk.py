"""The SDK without a broker: whose replies count, in which order, and what the end is."""

import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.client.core import addressed, checked, id_of_content, new_job_id, one_shot
from producers.client.download import store_of
from producers.client.inbox import MOST_UNWATCHED, Inbox
from producers.client.sending import submission_id
from producers.client.story import NoVideo, Story
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


def test_the_refusal_of_somebody_elses_request_is_not_taken_for_ours() -> None:
    conflict = reply("a", 1, "rejected", "accepted", reason=REASON, origin=Origin(ce_id=submission_id("a", b"1")))
    for ce_id, told in ((submission_id("a", b"1"), 1), (submission_id("a", b"2"), 0), ("", 0)):
        story = Story("a", ce_id)
        assert len(story.tell([conflict])) == told
        assert story.ended == bool(told)


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
