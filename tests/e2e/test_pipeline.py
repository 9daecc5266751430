"""The whole pipeline on the real broker: thirty jobs, every stage killed once in the middle, every job finished once.

The renderer is the fake family: every frame of a published video says which chunk and which frame of its shot it is, so
loss, order and duplication are read from the video itself.
"""

import hashlib
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from msgspec.structs import replace

from gpu_consumers.pipelines.fake import read_fake
from ops import deletion, topics_admin
from ops.bus import clients
from ops.bus.sending import Outbox
from ops.local.supervisor import Supervisor
from ops.settings import Settings
from ops.stages import FOLLOWED, STAGES
from ops.storage.open import open_store
from producers.client import Operator
from schemas.chunks import chunk_ids, chunk_keys, shot_seeds, total_frames
from schemas.codec import decode, encode
from schemas.events import JobEvent, JobFinished, JobReply, JobState, Reason, UsageMetered
from schemas.ids import event_id, job_key, video_object_key
from schemas.plan import Plan
from schemas.records import Headers
from schemas.request import JobRequest, Output, Shot, Transition
from schemas.topics import (
    CHUNKS,
    CHUNKS_RENDERED,
    COSTS_LEARNT,
    DISPATCH_LEADER,
    DISPATCH_STATE,
    JOBS_EVENTS,
    JOBS_FINISHED,
    JOBS_REQUESTED,
    JOBS_STATE,
    PLANS_READY,
    REPLIES_DEFAULT,
    USAGE_METERED,
    DeadLetters,
    Topic,
)
from schemas.work import ChunkRendered
from tests.bad_input.mutations import mutated, seeds_of
from tests.e2e.fake_model import REGISTRY
from tests.e2e.reading import read_all

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]

OUTPUT = Output(width_px=256, height_px=256, fps=24)
JOBS = 30
FINISH_S = 240.0


def requests() -> list[JobRequest]:
    """Thirty jobs of every kind: one chunk, chained, independent shots, cross-fades; three lanes, two tenants."""
    lanes = ("bulk", "bulk", "standard", "express")
    made = []
    for n in range(JOBS):
        shots = (Shot(prompt=f"a red ball number {n}", duration_s=(0.5, 1.5, 2.5)[n % 3], seed=n),)
        transitions: tuple[Transition, ...] = ()
        if n % 5 == 0:
            second = Shot(prompt=f"a blue box number {n}", duration_s=1.0, seed=n, continuity="independent")
            shots, transitions = (*shots, second), (Transition(after=0, duration_s=0.25),) if n % 2 else ()
        made.append(
            JobRequest(
                job_id=f"job-{n}",
                tenant=("default", "other")[n % 2],
                lane=lanes[n % 4],
                model="fake",
                shots=shots,
                transitions=transitions,
                output=OUTPUT,
                metadata={"n": str(n)},
            )
        )
    return made


def wait_finished(settings: Settings, wanted: set[str], supervisor: Supervisor) -> None:
    """Until every wanted job is in a terminal state, or a test that hangs is told apart from one that is slow."""
    deadline = time.monotonic() + FINISH_S
    left = set(wanted)
    with Operator(settings) as client:
        for job in wanted:
            client.wait(job, timeout_s=max(1.0, deadline - time.monotonic()))
            left.discard(job)
    assert not left, f"not finished: {sorted(left)}; {supervisor.status()}"


def frames_of_video(path: Path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def run(broker, tmp_path_factory):
    """One run with kills; the tests look at what it left, and go on with the same stack."""
    folder = tmp_path_factory.mktemp("pipeline")
    registry = folder / "registry.toml"
    registry.write_text(REGISTRY)
    settings = Settings(
        bootstrap_servers=broker.bootstrap_servers,
        prefix="pipeline",
        dead_letter_max_share=0.0,  # rubbish is sent on purpose here, and more of it than a stage stands by default
        dead_letter_max_run=0,
        store=str(folder / "store"),
        data_dir=str(folder),
        registry=str(registry),
    )
    topics_admin.apply(settings, topics_admin.plan(settings))
    wanted = {job_key(r.tenant, r.job_id) for r in requests()}
    with Supervisor([(name, 1) for name in STAGES], settings, report=print) as supervisor, Operator(settings) as client:
        warm = JobRequest(job_id="warm", model="fake", shots=(Shot(prompt="a ball", duration_s=0.5),), output=OUTPUT)
        client.submit(warm)
        client.wait("warm", timeout_s=120)
        waves = [requests()[n :: len(STAGES)] for n in range(len(STAGES))]
        for name, wave in zip(STAGES, waves, strict=True):
            list(client.submit_many(wave))
            finished = len(read_all(settings, JOBS_FINISHED))
            assert supervisor.kill(name, signal.SIGKILL) is not None
            wait_progress(settings, finished)
        wait_finished(settings, wanted, supervisor)
        yield settings, wanted, supervisor


def wait_progress(settings: Settings, finished: int) -> None:
    """Until one more job has finished since the kill; the others of its wave are then still on their way."""
    deadline = time.monotonic() + FINISH_S
    while time.monotonic() < deadline:
        if len(read_all(settings, JOBS_FINISHED)) > finished:
            return
    raise AssertionError(f"no job finished within {FINISH_S:.0f} s of a kill")


def test_every_stage_was_killed_and_came_back(run):
    _, _, supervisor = run
    restarts = {status.name: status.restarts for status in supervisor.status()}
    assert set(restarts) == set(STAGES)
    assert all(count >= 1 for count in restarts.values())


def test_every_job_has_exactly_one_terminal_record_and_one_usage_record(run):
    settings, wanted, _ = run
    finished = [decode(JobFinished, r.value) for r in read_all(settings, JOBS_FINISHED)]
    counts = Counter(f.job for f in finished)
    assert {job: counts[job] for job in wanted} == dict.fromkeys(wanted, 1)
    assert {f.state for f in finished} == {"completed"}
    metered = [decode(UsageMetered, r.value) for r in read_all(settings, USAGE_METERED)]
    assert Counter(used.job for used in metered if used.id == event_id("usage", used.job)) == counts
    assert len({used.id for used in metered}) == len(metered)


def test_sequences_grow_without_gaps(run):
    settings, wanted, _ = run
    latest: dict[str, int] = {}
    for record in read_all(settings, JOBS_STATE):
        state = decode(JobState, record.value)
        assert state.sequence > latest.get(state.job, 0)
        latest[state.job] = state.sequence
    assert wanted <= set(latest)


def test_every_video_has_every_frame_once_and_in_order(run, tmp_path):
    settings, wanted, _ = run
    store = open_store(settings)
    plans = read_plans(settings)
    checked = 0
    for record in read_all(settings, JOBS_FINISHED):
        done = decode(JobFinished, record.value)
        if done.job not in wanted:
            continue
        path = tmp_path / "video.mp4"
        store.fetch(done.video.file.key, path)
        plan = plans[done.job]
        frames = frames_of_video(path)
        assert len(frames) == done.video.frames == total_frames(plan.request)
        if not plan.request.transitions:
            assert [read_fake(f) for f in frames] == expected(plan)
            checked += 1
    assert checked > JOBS // 2


def read_plans(settings: Settings):
    records = [r for topic in PLANS_READY.values() for r in read_all(settings, topic)]
    return {plan.job: plan for plan in (decode(Plan, r.value) for r in records)}


def expected(plan):
    names = chunk_ids(plan)
    return [
        (names[i][:8], span.first_frame + n)
        for shot in range(len(plan.request.shots))
        for i, span in enumerate(plan.chunks)
        if span.shot == shot
        for n in range(span.frames)
    ]


def submit_and_wait(settings: Settings, request: JobRequest) -> JobState:
    with Operator(settings) as client:
        name = client.submit(request)
        return client.wait(name, timeout_s=FINISH_S)


def again(job_id: str) -> JobRequest:
    """The content of job-1 (chained chunks, a seed of its own) under another id."""
    return replace(requests()[1], job_id=job_id)


def test_the_same_content_again_is_answered_from_existing_chunks(run):
    settings, _, _ = run
    done = submit_and_wait(settings, again("again"))
    assert (done.state, done.progress.rendered, done.progress.device_s) == ("completed", 0, 0.0)
    assert done.progress.reused == done.progress.chunks > 1


def test_a_chunk_whose_bytes_rotted_is_rendered_again(run, tmp_path):
    settings, _, _ = run
    plan = read_plans(settings)["other/job-1"]
    rotten = Path(settings.store) / chunk_keys(plan)[0]
    raw = bytearray(rotten.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    rotten.resolve().chmod(0o644)
    rotten.resolve().write_bytes(raw)
    done = submit_and_wait(settings, again("rotten"))
    assert done.state == "completed"
    assert done.progress.rendered == 1
    path = tmp_path / "video.mp4"
    open_store(settings).fetch(done.video.file.key, path)
    assert [read_fake(frame) for frame in frames_of_video(path)] == expected(plan)


def publish(settings: Settings, records: list[tuple[Topic, bytes | None, bytes | None, Headers]]) -> None:
    outbox = Outbox(clients.producer(settings), settings.prefix, "test")
    for topic, key, value, headers in records:
        outbox.send_raw(topic.name(settings.prefix), key, value, list(headers))
    while outbox.waiting():
        pass
    assert not outbox.failures


def replies(settings: Settings, job_id: str) -> list[tuple[JobReply, dict[str, bytes]]]:
    """Replies of one job in the order of the topic, each with its headers, repeated ones once."""
    found = {}
    for record in read_all(settings, REPLIES_DEFAULT):
        if record.key == job_id.encode():
            assert record.value is not None
            assert record.value[:1] == b"{", "the request was JSON"
            reply = decode(JobReply, record.value)
            found.setdefault(reply.id, (reply, dict(record.headers)))
    return list(found.values())


def wait_replies(settings: Settings, job_id: str, enough: Callable[[list[str]], bool]) -> list[JobReply]:
    deadline = time.monotonic() + FINISH_S
    while not enough([reply.type for reply, _ in replies(settings, job_id)]):
        assert time.monotonic() < deadline, [reply.type for reply, _ in replies(settings, job_id)]
    return [reply for reply, _ in replies(settings, job_id)]


def asked(settings: Settings, job_id: str, prompt: str) -> JobRequest:
    return JobRequest(
        job_id=job_id,
        model="fake",
        shots=(Shot(prompt=prompt, duration_s=1.5),),
        output=OUTPUT,
        reply_topic=REPLIES_DEFAULT.name(settings.prefix),
        batch_id="b-1",
        metadata={"order": "17"},
    )


def test_the_caller_is_told_everything_on_its_own_topic(run, tmp_path):
    """JSON in, JSON out; the last reply stands alone: a consumer needs nothing else to fetch and check the video."""
    settings, _, _ = run
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    request = asked(settings, "told", "a green box")
    given = (("ce_id", b"order-17"), ("ce_source", b"/shop"), ("traceparent", trace))
    publish(settings, [(JOBS_REQUESTED["standard"], b"told", encode(request, "json"), given)])
    told = wait_replies(settings, "told", lambda types: "finished" in types)
    assert [reply.type for reply in told] == ["accepted", "started", "finished"]
    assert [reply.sequence for reply in told] == sorted({reply.sequence for reply in told})
    assert all((r.batch_id, r.metadata, r.origin.ce_id) == ("b-1", {"order": "17"}, "order-17") for r in told)
    for _, headers in replies(settings, "told"):
        assert headers["traceparent"] == trace
        assert headers["content-type"] == b"application/json"
        assert (headers["ce_specversion"], headers["ce_subject"]) == (b"1.0", b"told")
    done = told[-1].result
    assert (done.state, done.prompts.verdict, done.frames.verdict) == ("completed", "allow", "allow")
    assert done.frames.frames_checked > 0
    assert done.cost.chunks_rendered == len(read_plans(settings)["default/told"].chunks)
    moments = [getattr(done.timeline, name) for name in done.timeline.__struct_fields__]
    assert all(moments)
    assert moments == sorted(moments)
    video = done.video
    assert video.provenance.model == "fake"
    assert video.provenance.seeds == tuple(shot_seeds(read_plans(settings)["default/told"]))
    for file in (video.file, video.thumbnail, video.contact_sheet):
        raw = Path(file.uri.removeprefix("file://")).read_bytes()
        assert (len(raw), hashlib.sha256(raw).hexdigest()) == (file.size_bytes, file.sha256)


def test_a_deletion_is_done_and_said(run):
    """After the test above: its job is deleted, twice, and the caller is told once."""
    settings, _, _ = run
    state = Operator(settings).state("told")
    reason = Reason(code="deleted", message="the customer asked")
    for _ in range(2):
        assert list(deletion.delete(settings, open_store(settings), [state], reason, 1)) == ["default/told"]
    last = wait_replies(settings, "told", lambda types: "deleted" in types)[-1]
    assert (last.type, last.state, last.reason) == ("deleted", "deleted", reason)
    assert [open_store(settings).head(file.key) for file in deletion.files_of(state)] == [None, None, None]
    assert Operator(settings).state("told").video is None


def test_one_id_is_one_job_however_often_and_with_whatever_it_is_sent(run):
    """A hundred copies side by side and five other requests under the same id: one job, every chunk rendered once."""
    settings, _, _ = run
    others = [asked(settings, "once", f"a purple star number {n}") for n in range(5)]
    value = encode(asked(settings, "once", "a purple ball"), "json")
    first = [(JOBS_REQUESTED["standard"], b"once", value, ())]
    publish(settings, [*first * 50, *((JOBS_REQUESTED["standard"], b"once", encode(o, "json"), ()) for o in others)])
    publish(settings, first * 50)
    told = wait_replies(settings, "once", lambda t: "finished" in t and t.count("rejected") == len(others))
    assert Counter(reply.type for reply in told) == {"accepted": 1, "started": 1, "finished": 1, "rejected": 5}
    assert {r.reason.code for r in told if r.type == "rejected"} == {"idempotency_conflict"}
    (done,) = (reply.result for reply in told if reply.type == "finished")
    plan = read_plans(settings)["default/once"]
    assert done.state == "completed"
    assert (done.cost.chunks_rendered, done.cost.chunks_reused) == (len(plan.chunks), 0)
    chunks = set(chunk_ids(plan))
    rendered = [decode(ChunkRendered, r.value) for r in read_all(settings, CHUNKS_RENDERED)]
    assert Counter(r.chunk_id for r in rendered if r.chunk_id in chunks) == dict.fromkeys(chunks, 1)


def test_a_corrected_request_under_a_refused_id_costs_nothing(run):
    """moderate lets it through, since it keeps no state; track refuses it and has dispatch stop it."""
    settings, _, _ = run
    for number, prompt in enumerate(("a nude figure", "a purple ring"), 1):
        value = encode(asked(settings, "corrected", prompt), "json")
        publish(settings, [(JOBS_REQUESTED["standard"], b"corrected", value, ())])
        told = wait_replies(settings, "corrected", lambda types, n=number: types.count("rejected") == n)
    assert [reply.reason.code for reply in told] == ["prompt_refused", "idempotency_conflict"]
    deadline = time.monotonic() + FINISH_S
    key = b"default/corrected"
    while "job.cancelled" not in {
        decode(JobEvent, e.value).type for e in read_all(settings, JOBS_EVENTS) if e.key == key
    }:
        assert time.monotonic() < deadline
    assert open_store(settings).head(video_object_key("default/corrected", "video.mp4")) is None
    assert Operator(settings).state("default/corrected").state == "rejected"


def test_rubbish_on_every_topic_stops_no_stage(run):
    """Cut, flipped and random records on every topic that a running stage reads; then a job goes through as ever."""
    settings, _, supervisor = run
    rng = random.Random(7)
    at_start = {JOBS_STATE, DISPATCH_STATE, DISPATCH_LEADER, COSTS_LEARNT}
    read = {topic for stage in STAGES.values() for topic in stage.reads} - at_start
    read.remove(CHUNKS["cuda"])  # the one worker here is of the other pool
    rubbish: list[tuple[Topic, bytes | None, bytes | None, Headers]] = []
    for topic in sorted(read, key=lambda topic: topic.entity):
        bad = [rng.randbytes(rng.randrange(60)) for _ in range(20)]
        bad += [mutated(rng, raw)[:200] + b"\xff" for raw in seeds_of(topic)]
        rubbish += [(topic, b"rubbish", value, ()) for value in bad]
    before = {status.name: status.restarts for status in supervisor.status()}
    publish(settings, rubbish)
    state = submit_and_wait(settings, asked(settings, "after-rubbish", "a yellow ball"))
    assert state.state == "completed"
    assert {status.name: status.restarts for status in supervisor.status()} == before
    deadline = time.monotonic() + FINISH_S
    wanted = Counter(topic.entity for topic, *_ in rubbish)
    while missing := {
        topic.entity: wanted[topic.entity] - found
        for topic in read - FOLLOWED
        if (found := len(read_all(settings, DeadLetters(topic)))) < wanted[topic.entity]
    }:
        assert time.monotonic() < deadline, missing


def test_a_cancelled_job_stops_and_publishes_nothing(run):
    settings, _, _ = run
    long = replace(
        requests()[0], job_id="cancelled", shots=(Shot(prompt="a red ball", duration_s=60.0),), transitions=()
    )
    with Operator(settings) as client:
        name = client.submit(long)
        client.cancel(name, "not wanted any more")
        state = client.wait(name, timeout_s=FINISH_S)
    assert (state.state, state.reason.message, state.video) == ("cancelled", "not wanted any more", None)
    assert open_store(settings).head(video_object_key(state.job, "video.mp4")) is None


def test_a_refused_prompt_ends_as_rejected_and_bad_bytes_as_a_dead_letter(run):
    settings, _, _ = run
    outbox = Outbox(clients.producer(settings), settings.prefix, "test")
    outbox.send_raw(JOBS_REQUESTED["standard"].name(settings.prefix), b"k", b"\x00\x01", [])
    while outbox.waiting():
        pass
    refused = replace(requests()[2], job_id="refused", shots=(Shot(prompt="a nude figure", duration_s=1.0),))
    state = submit_and_wait(settings, refused)
    assert (state.state, state.reason.code, state.reason.field) == ("rejected", "prompt_refused", "shots[0].prompt")
    deadline = time.monotonic() + FINISH_S
    while b"\x00\x01" not in {letter.value for letter in read_all(settings, DeadLetters(JOBS_REQUESTED["standard"]))}:
        assert time.monotonic() < deadline
