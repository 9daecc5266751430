"""The SDK against the running pipeline on the real broker, as a tenant would use it."""

import asyncio
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops import deletion, topics_admin
from ops.local.kafka import LocalKafka
from ops.local.supervisor import Supervisor
from ops.settings import PACKAGE_ROOT, Settings
from ops.stages import STAGES
from ops.storage.open import open_store
from producers.client import AsyncClient, Client, NoVideo, Operator, new_job_id
from schemas.errors import InvalidMessage, JobRejected, Transient
from schemas.events import JobReply, Reason
from schemas.topics import JOBS_REQUESTED
from tests.e2e.reading import read_all
from tests.e2e.test_pipeline import REGISTRY

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

OUTPUT = {"width_px": 128, "height_px": 128, "fps": 12}
END_S = 120.0


def ball(colour: str, duration_s: float = 0.5) -> dict[str, object]:
    return {"model": "fake", "output": OUTPUT, "shots": [{"prompt": f"a {colour} ball", "duration_s": duration_s}]}


@pytest.fixture(scope="module")
def settings(broker: LocalKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("client")
    # The examples ask for the model that is there by default.
    (folder / "registry.toml").write_text(REGISTRY + REGISTRY.replace('"fake"', '"shapes"', 1))
    made = Settings(
        bootstrap_servers=broker.bootstrap_servers,
        prefix="client",
        store=str(folder / "store"),
        data_dir=str(folder),
        registry=str(folder / "registry.toml"),
    )
    topics_admin.apply(made, topics_admin.plan(made))
    with Supervisor([(name, 1) for name in STAGES if name != "notify"], made, report=print):
        yield made


def test_submit_events_wait_download(settings: Settings, tmp_path: Path) -> None:
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    with Client(settings, source="/shop") as client:
        job = client.submit(ball("red"), trace=trace)
        told = list(job.events(END_S))
        assert [reply.type for reply in told] == ["accepted", "started", "finished"]
        done = job.wait(1)
        assert done == told[-1].result
        assert (done.origin.ce_source, done.origin.traceparent) == ("/shop", trace["traceparent"])
        path = job.download(tmp_path / "new" / "ball.mp4")
    assert done.video is not None
    assert hashlib.sha256(path.read_bytes()).hexdigest() == done.video.file.sha256


def test_the_same_call_again_is_the_same_job_also_from_another_process(settings: Settings) -> None:
    with Client(settings) as first, Client(settings) as second:
        one = first.submit(ball("green"))
        first_result = one.wait(END_S)
        again = second.submit(ball("green"))
        assert (again.job_id, again.wait(END_S)) == (one.job_id, first_result)
        other = first.submit({**ball("green"), "job_id": new_job_id()})
        assert other.wait(END_S).job_id != one.job_id


def test_a_client_that_was_away_finds_its_jobs_again(settings: Settings) -> None:
    with Client(settings) as client:
        done = client.submit(ball("blue")).wait(END_S)
    with Client(settings, lookback_s=0) as client:
        job = client.job(done.job_id)
        assert [reply.type for reply in job.events(END_S)] == ["accepted", "started", "finished"]
        assert job.wait(1) == done


def test_refusals_come_as_what_they_are(settings: Settings) -> None:
    with Client(settings) as client:
        before = len(read_all(settings, JOBS_REQUESTED["standard"]))
        with pytest.raises(InvalidMessage, match="lane"):
            client.submit({**ball("red"), "lane": "vip"})
        with pytest.raises(InvalidMessage, match="tenant"):
            client.submit({**ball("red"), "tenant": "somebody-else"})
        assert len(read_all(settings, JOBS_REQUESTED["standard"])) == before, "nothing was sent"
        with pytest.raises(JobRejected) as caught:
            client.submit({**ball("red"), "model": "sora"}).wait(END_S)
        assert (caught.value.code, caught.value.field) == ("model_unknown", "model")
        taken = client.submit({**ball("white"), "job_id": "taken"})
        with pytest.raises(JobRejected, match="used before"):
            client.submit({**ball("black"), "job_id": "taken"}).wait(END_S)
        assert taken.wait(END_S).state == "completed", "the first one is not disturbed"
        for _ in range(2):
            with pytest.raises(JobRejected, match="used before"):
                client.submit({**ball("black"), "job_id": "taken"}).wait(END_S)


def test_cancel_ends_a_job_without_a_video(settings: Settings) -> None:
    with Client(settings) as client:
        job = client.submit(ball("long", duration_s=60))
        job.cancel("not wanted")
        with pytest.raises(NoVideo, match="not wanted") as caught:
            job.wait(END_S)
        assert caught.value.state == "cancelled"


def test_a_deleted_video_is_said_to_be_gone(settings: Settings, tmp_path: Path) -> None:
    with Client(settings) as client:
        job = client.submit(ball("gone"))
        job.wait(END_S)
        state = Operator(settings).state(job.job_id)
        assert state is not None
        reason = Reason(code="expired", message="kept for a day")
        assert list(deletion.delete(settings, open_store(settings), [state], reason, time.time_ns() // 10**6))
        while [r.type for r in client.mailbox.inbox.known(job.job_id)][-1] != "deleted":
            assert client.mailbox.inbox.wait(job.job_id, 3, END_S)
        with Client(settings) as other, pytest.raises(NoVideo, match="kept for a day"):
            other.submit(ball("gone")).wait(END_S)


def test_many_from_many_threads(settings: Settings) -> None:
    results: list[JobReply] = []
    with Client(settings) as client:

        def work(number: int) -> None:
            results.append(list(client.submit(ball(f"number {number}")).events(END_S))[-1])

        threads = [threading.Thread(target=work, args=[n]) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [reply.state for reply in results] == ["completed"] * 6


def test_asyncio(settings: Settings, tmp_path: Path) -> None:
    async def scene() -> None:
        async with AsyncClient(settings) as client:
            jobs = await client.submit_many([ball(f"async {n}") for n in range(5)])
            done = await asyncio.gather(*(job.wait(END_S) for job in jobs))
            assert [d.state for d in done] == ["completed"] * 5
            again = await client.job(jobs[0].job_id)
            assert [r.type async for r in again.events(END_S)] == ["accepted", "started", "finished"]
            assert (await again.download(tmp_path / "a.mp4")).stat().st_size > 0
            long = await client.submit(ball("long async", duration_s=60))
            with pytest.raises(TimeoutError, match=f"job {long.job_id} "):
                await long.wait(0.01)
            await long.cancel()
            with pytest.raises(NoVideo):
                await long.wait(END_S)

    asyncio.run(scene())


def test_a_reader_that_ended_is_opened_anew(settings: Settings) -> None:
    faults = [OSError("no more memory")]

    def broken() -> None:
        if faults:
            raise faults.pop()

    with Client(settings) as client:
        job = client.submit(ball("grey"))
        client.inbox.listen(job.job_id, broken)
        with pytest.raises(Transient, match="no more memory"):
            job.wait(END_S)
        again = client.submit({**ball("grey"), "job_id": new_job_id()})
        assert again.wait(END_S).state == "completed"


def test_no_broker_is_said_soon() -> None:
    began_s = time.monotonic()
    with Client("127.0.0.1:1") as client, pytest.raises(Transient, match=r"no Kafka broker answers at 127\.0\.0\.1:1"):
        client.submit(ball("red"))
    assert time.monotonic() - began_s < 60, "it did not hang"


def test_a_missing_reply_topic_is_said_before_anything_is_sent(settings: Settings) -> None:
    with Client(settings, tenant="nobody") as client, pytest.raises(Transient, match=r"client\.replies\.nobody\.v1"):
        client.submit(ball("red"))


@pytest.mark.parametrize(
    ("script", "given", "fed"),
    [("one_video.py", ["a red ball", "OUT/ball.mp4"], ""), ("many_at_once.py", ["OUT"], "a red box\na blue box\n")],
)
def test_the_examples_run(settings: Settings, tmp_path: Path, script: str, given: list[str], fed: str) -> None:
    arguments = [text.replace("OUT", str(tmp_path)) for text in given]
    example = PACKAGE_ROOT / "docs" / "examples" / "python" / script
    done = subprocess.run(
        [sys.executable, str(example), *arguments], input=fed, text=True, capture_output=True, timeout=300,
        env={**os.environ, **settings.environment()}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sum(path.stat().st_size > 0 for path in tmp_path.glob("*.mp4")) == max(1, fed.count("\n"))
