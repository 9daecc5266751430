"""The command line as a user types it, against a real broker; the pipeline's answers are written by the test."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from ops import registry
from ops.bus import clients
from ops.settings import PACKAGE_ROOT, Settings
from ops.storage.open import open_store
from producers.client import Operator, one_shot
from schemas.codec import decode, encode
from schemas.costs import cost_key
from schemas.errors import InvalidMessage, Transient
from schemas.events import JobFinished, JobState, Progress, Provenance, PublishedFile, Reason, Video
from schemas.ids import job_key, video_object_key
from schemas.request import LANES, JobOrder, JobRequest
from schemas.topics import (
    COSTS_LEARNT,
    JOBS_FINISHED,
    JOBS_REQUESTED,
    JOBS_STATE,
    ORDERS_REQUESTED,
    PLANS_READY,
    WORKERS_STATE,
)
from schemas.work import LearntCost, WorkerState
from tests.core.plans import plan
from tests.e2e.reading import read_all

pytestmark = pytest.mark.kafka


class Shell:
    """Runs `reelbus` in a process of its own, with a test's broker, store and prefix in the environment."""

    def __init__(self, settings: Settings) -> None:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("REELBUS_")}
        self.environment = {**kept, **settings.environment(), "NO_COLOR": "1"}

    def start(self, *arguments, **options):
        return subprocess.Popen(
            [sys.executable, "-m", "ops", *arguments], env=self.environment, cwd=PACKAGE_ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip

    def __call__(self, *arguments, code=0, stdin=None):
        process = self.start(*arguments)
        out, err = process.communicate(stdin, timeout=120)
        assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in err
        return out, err


@pytest.fixture
def shell(settings):
    return Shell(settings)


def write(settings, topic, key, *records):
    producer = clients.producer(settings)
    for record in records:
        producer.produce(topic.name(settings.prefix), key=key, value=encode(record))
    assert producer.flush(30) == 0


def state(name, kind, sequence=1, tenant="default", **more):
    return JobState(
        job=job_key(tenant, name), state=kind, sequence=sequence, lane="standard", model="shapes",
        requested_at_ms=1_000, updated_at_ms=2_000, **more,
    )  # fmt: skip


REFUSED = Reason(code="prompt_refused", message="it asks for x", field="shots[0].prompt")


def requested(settings, lane):
    return [decode(JobRequest, record.value) for record in read_all(settings, JOBS_REQUESTED[lane])]


# ---- submit ----------------------------------------------------------------------------------------------------------


def test_one_prompt_becomes_one_record_on_the_topic_of_its_lane(shell, settings):
    out, err = shell(
        "submit", "--prompt", "a red ball", "--duration-s", "1.5", "--lane", "express", "--size", "256x128",
        "--fps", "12", "--seed", "7", "--job-id", "mine", "--tenant", "acme",
    )  # fmt: skip
    assert out == "acme/mine\n"
    assert "submitted 1 job" in err
    (record,) = read_all(settings, JOBS_REQUESTED["express"])
    assert record.key == b"mine"
    request = decode(JobRequest, record.value)
    assert (request.tenant, request.lane, request.shots[0].seed, request.shots[0].duration_s) == (
        "acme",
        "express",
        7,
        1.5,
    )
    assert (request.output.width_px, request.output.height_px, request.output.fps) == (256, 128, 12)


def test_a_file_of_lines_and_stdin_are_published_in_order(shell, settings):
    lines = "".join(
        json.dumps({"job_id": f"j{n}", "lane": "bulk", "shots": [{"prompt": "x", "duration_s": 1}]}) + "\n"
        for n in range(20)
    )
    out, _ = shell("submit", "-", stdin=lines)
    assert out.split() == [f"j{n}" for n in range(20)]
    assert {request.job_id for request in requested(settings, "bulk")} == {f"j{n}" for n in range(20)}


def test_a_wrong_line_is_told_and_those_before_it_are_sent(shell, settings, tmp_path):
    file = tmp_path / "jobs.jsonl"
    good = {"job_id": "good", "shots": [{"prompt": "x", "duration_s": 1}]}
    file.write_text(json.dumps(good) + "\n" + json.dumps({**good, "job_id": "bad", "wat": 1}) + "\n")
    out, err = shell("submit", str(file), code=2)
    assert out == "good\n"
    assert err.strip().splitlines()[-1].startswith('reelbus: line 2: the request: unknown field "wat"')
    assert [request.job_id for request in requested(settings, "standard")] == ["good"]


def test_a_wrong_option_is_told_by_field_and_nothing_is_sent(shell, settings):
    out, err = shell("submit", "--prompt", "x", "--fps", "1000", code=2)
    assert (out, err) == ("", "reelbus: output.fps: found 1000; expected a whole number from 1 to 60\n")
    assert requested(settings, "standard") == []


def test_without_a_broker_it_says_so_and_ends_with_4(bare_settings):
    shell = Shell(bare_settings.replace(bootstrap_servers="127.0.0.1:1"))
    for arguments in (["submit", "--prompt", "x"], ["watch"]):
        out, err = shell(*arguments, code=4)
        assert out == ""
        assert err.startswith("reelbus: ")
        assert "127.0.0.1:1" in err


def test_without_topics_it_says_how_to_make_them(shell, settings):
    shell.environment["REELBUS_PREFIX"] = f"{settings.prefix}-other"
    _, err = shell("submit", "--prompt", "x", code=4)
    assert "`reelbus topics apply`" in err


def test_a_quote_goes_by_what_chunks_have_cost_and_sends_nothing(shell, settings):
    (entry,) = [one for one in registry.load(settings.registry).values() if one.name == "shapes"]
    width_px, height_px = entry.native_size(256, 128)
    ask = ("quote", "--prompt", "a red ball", "--duration-s", "0.5", "--size", "256x128", "--json")
    prior = json.loads(shell(*ask)[0])
    assert (prior["chunks"], prior["chunks_seen"], prior["cost"]) == (1, 0, None)
    seen = LearntCost(
        pool="cpu", model="shapes", model_revision=entry.revision, width_px=width_px, height_px=height_px,
        steps=entry.steps, frames=12, chunk_s=36.0, chunks=5,
    )  # fmt: skip
    write(settings, COSTS_LEARNT, cost_key(seen).encode(), seen)
    learnt = json.loads(shell(*ask, "--price-per-hour", "2")[0])
    assert (learnt["device_s"], learnt["chunks_seen"], learnt["cost"]) == (36.0, 5, 0.02)
    assert "36 s of a device (as 5 chunks took)" in shell(*ask[:-1])[0]
    _, err = shell("quote", "--prompt", "a red ball", "--model", "nope", code=3)
    assert "nope" in err
    assert not any(requested(settings, lane) for lane in LANES)


# ---- watch, get, cancel ----------------------------------------------------------------------------------------------


def test_watch_tells_every_change_and_ends_with_the_job(shell, settings):
    progress = Progress(chunks=2, rendered=1, waited_s=0.5)
    write(settings, JOBS_STATE, "default/a", state("a", "queued"), state("a", "rendering", 2, progress=progress))
    process = shell.start("watch", "a", "--json")
    first = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert [line["state"] for line in first] == ["queued", "rendering"]
    write(settings, JOBS_STATE, "default/b", state("b", "failed", reason=REFUSED))
    write(settings, JOBS_STATE, "default/a", state("a", "completed", 3, progress=progress))
    out, _ = process.communicate(timeout=60)
    assert [json.loads(line)["job"] for line in out.splitlines()] == ["default/a"]
    assert process.returncode == 0


def test_watch_without_a_terminal_prints_plain_lines_and_ends_with_3_for_a_refused_job(shell, settings):
    write(settings, JOBS_STATE, "acme/a", state("a", "rejected", tenant="acme", reason=REFUSED))
    out, err = shell("watch", "acme/a", code=3)
    assert out == ""
    assert err == "standard acme/a rejected - shots[0].prompt: it asks for x\n"


def test_watch_gives_up_when_told_to_and_says_where_the_job_stands(shell, settings):
    write(settings, JOBS_STATE, "default/a", state("a", "queued"))
    _, err = shell("watch", "a", "nosuch", "--timeout-s", "6", code=1)
    assert "a is queued" in err.splitlines()[-1]
    assert "nosuch is not known" in err.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_ends_cleanly_on_a_signal(shell, settings, number):
    write(settings, JOBS_STATE, "default/a", state("a", "queued"))
    process = shell.start("watch", "--json")
    assert json.loads(process.stdout.readline())["state"] == "queued"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_watch_ends_when_its_reader_goes_away(shell, settings):
    process = shell.start("watch", "--json")
    write(settings, JOBS_STATE, "default/a", state("a", "queued"))
    process.stdout.readline()
    process.stdout.close()
    for n in range(2, 400):
        write(settings, JOBS_STATE, "default/a", state("a", "queued", n))
        if process.poll() is not None:
            break
    assert process.wait(60) == 1
    assert process.stderr.read() == ""


def published(settings, name):
    """A completed job with three objects in the store."""
    store, refs = open_store(settings), []
    for part, kind in (("video.mp4", "video/mp4"), ("thumbnail.jpg", "image/jpeg"), ("contact-sheet.png", "image/png")):
        data = f"{name} {part}".encode()
        key = video_object_key(job_key("default", name), part)
        store.put(key, data, kind)
        refs.append(
            PublishedFile(
                uri=store.uri(key), key=key, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data),
                content_type=kind,
            )
        )  # fmt: skip
    video = Video(
        file=refs[0], thumbnail=refs[1], contact_sheet=refs[2], frames=17, duration_s=0.7, width_px=256, height_px=256,
        fps=24, container="mp4", codec="h264",
        provenance=Provenance(model="m", model_revision="1", seeds=(1,), label="AI", mark_payload="00" * 8),
    )  # fmt: skip
    return state(name, "completed", video=video)


def test_get_fetches_video_thumbnail_and_sheet(shell, settings, tmp_path):
    write(settings, JOBS_STATE, "default/a", published(settings, "a"))
    out, _ = shell("get", "a", "--out", str(tmp_path / "got"))
    paths = [Path(line) for line in out.splitlines()]
    assert [path.name for path in paths] == ["a.mp4", "a.jpg", "a.sheet.png"]
    assert paths[0].read_bytes() == b"a video.mp4"


def test_get_refuses_an_object_that_is_not_the_one_of_the_job(shell, settings, tmp_path):
    made = published(settings, "a")
    other = replace(made.video.file, sha256="0" * 64, size_bytes=3)
    write(settings, JOBS_STATE, "default/a", state("a", "completed", video=replace(made.video, file=other)))
    _, err = shell("get", "a", "--out", str(tmp_path / "got"), code=1)
    assert "sha256" in err
    assert list((tmp_path / "got").iterdir()) == []


def test_get_says_where_a_job_stands(shell, settings):
    write(settings, JOBS_STATE, "default/q", state("q", "queued", progress=Progress(chunks=2, queue_position=3)))
    write(settings, JOBS_STATE, "default/r", state("r", "rejected", reason=REFUSED))
    assert shell("get", "q")[0] == "queued, 3 ahead, chunks 0/2\n"
    assert shell("get", "r", code=3)[0] == "rejected, shots[0].prompt: it asks for x\n"
    assert json.loads(shell("get", "r", "--json", code=3)[0])["reason"]["code"] == "prompt_refused"
    assert "nothing is known of job nosuch" in shell("get", "nosuch", code=1)[1]
    assert "there is no video" in shell("get", "q", "--out", "never-made", code=1)[1]


def test_cancel_orders_the_scheduler_once_and_refuses_what_has_ended(shell, settings):
    write(settings, JOBS_STATE, "default/a", state("a", "queued"))
    write(settings, JOBS_STATE, "default/done", state("done", "completed"))
    shell("cancel", "a", "--reason", "changed my mind")
    assert "completed already" in shell("cancel", "done", code=1)[1]
    assert "nothing is known" in shell("cancel", "nosuch", code=1)[1]
    (record,) = read_all(settings, ORDERS_REQUESTED)
    order = decode(JobOrder, record.value)
    assert (record.key, order) == (b"a", JobOrder(job_id="a", action="cancel", reason="changed my mind"))


# ---- topics, doctor --------------------------------------------------------------------------------------------------


def test_topics_plan_and_apply(make_settings):
    shell = Shell(make_settings(topics=()))
    out, _ = shell("topics", "plan", "--json", code=1)
    changes = [json.loads(line) for line in out.splitlines()]
    assert {change["action"] for change in changes} == {"create"}
    assert "changes made" in shell("topics", "apply")[1]
    assert shell("topics", "plan") == ("", "topics are as they should be\n")
    assert "nothing to change" in shell("topics", "apply")[1]


def test_drift_and_grants_on_a_broker_that_keeps_no_access_lists(make_settings):
    settings = make_settings(topics=(WORKERS_STATE,))
    shell = Shell(settings)
    out, err = shell("topics", "drift", "--json", code=1)
    drift = [json.loads(line) for line in out.splitlines()]
    assert {(one["kind"], one["what"]) for one in drift} >= {("missing-topic", JOBS_STATE.name(settings.prefix))}
    assert all(one["what"] != WORKERS_STATE.name(settings.prefix) for one in drift)
    assert "grants were not compared: the cluster keeps no access control lists" in err
    for command in ("plan", "apply"):
        assert "authorizer.class.name" in shell("topics", "acls", command, code=1)[1]
    shell("topics", "apply")
    out, err = shell("topics", "drift")
    assert (out, err.splitlines()[-1]) == ("", "no drift of topics")


def test_export_asks_no_broker(bare_settings):
    shell = Shell(bare_settings.replace(bootstrap_servers="127.0.0.1:1"))
    prefix = bare_settings.prefix
    assert f'  name: "{prefix}.jobs.state.v1"' in shell("topics", "export")[0]
    assert f"acl User:{prefix}-track --topic {prefix}.jobs.state.v1" in shell("topics", "export", "--format", "acls")[0]
    assert json.loads(shell("topics", "export", "--format", "json")[0]).keys() == {"topics", "acls"}
    assert "my_x.jobs" in shell("topics", "export", "--prefix", "my_x", code=1)[1]


def test_doctor_finds_a_sound_installation_sound(shell):
    found = {check["name"]: check for check in map(json.loads, shell("doctor", "--json")[0].splitlines())}
    assert {"broker", "topics", "store", "clock", "encoders", "device", "models", "packages"} <= found.keys()
    assert all(check["status"] in ("ok", "absent") for check in found.values())
    assert found["clock"]["status"] == "ok"


def test_doctor_says_what_to_do(make_settings, tmp_path):
    file = tmp_path / "not-a-directory"
    file.touch()
    shell = Shell(make_settings(topics=(), store=str(file / "store"), device="cuda:99"))
    lines = shell("doctor", code=1)[0].splitlines()
    failed = {line.split()[1]: line for line in lines if line.startswith("fail")}
    assert failed.keys() == {"topics", "store", "device"}
    assert "reelbus topics apply" in failed["topics"]


# ---- the client, from Python -----------------------------------------------------------------------------------------


def test_submit_many_sends_what_stands_before_a_mistake(settings):
    with Operator(settings) as client:
        names = client.submit_many([one_shot("a", duration_s=1), {"output": 1}, one_shot("b", duration_s=1)])
        first = next(names)
        with pytest.raises(InvalidMessage, match="output: found 1; expected an object"):
            next(names)
    assert [request.job_id for request in requested(settings, "standard")] == [first]


def test_more_than_fit_on_the_way_arrive_once_each(settings):
    with Operator(settings) as client:
        names = list(client.submit_many(one_shot("a", duration_s=1, lane="bulk") for _ in range(1200)))
    found = [request.job_id for request in requested(settings, "bulk")]
    assert len(found) == 1200
    assert set(found) == set(names)


def test_states_end_where_the_topic_ended_unless_they_follow(settings):
    client = Operator(settings)
    assert list(client.states(follow=False)) == []
    write(settings, JOBS_STATE, "default/a", state("a", "queued"), state("a", "completed", 2))
    write(settings, JOBS_STATE, "default/b", state("b", "queued"))
    assert [s.state for s in client.states(["a"], follow=False)] == ["queued", "completed"]
    following = client.states(["b"])
    assert next(following).state == "queued"
    write(settings, JOBS_STATE, "default/b", state("b", "rendering", 2))
    assert next(following).state == "rendering"


def test_wait_returns_the_terminal_state_or_says_how_far_it_came(settings):
    write(settings, JOBS_STATE, "default/a", state("a", "queued"), state("a", "failed", 2, reason=REFUSED))
    write(settings, JOBS_STATE, "default/b", state("b", "rendering"))
    client = Operator(settings)
    assert client.wait("a", timeout_s=60).state == "failed"
    with pytest.raises(Transient, match="job b is rendering after 5 s"):
        client.wait("b", timeout_s=5)
    assert client.state("nosuch") is None
    known = client.state("a")
    assert known is not None
    assert known.sequence == 2


def test_uncommitted_and_broken_records_are_not_seen(settings):
    name = JOBS_STATE.name(settings.prefix)
    producer = clients.transactional_producer(settings, "test")
    producer.begin_transaction()
    producer.produce(name, key="default/a", value=encode(state("a", "completed")))
    producer.flush()
    producer.abort_transaction()
    write(settings, JOBS_STATE, "default/a", state("a", "queued"))
    plain = clients.producer(settings)
    plain.produce(name, key="default/a", value=b"\x00broken")
    plain.flush()
    assert [s.state for s in Operator(settings).states(follow=False)] == ["queued"]


def test_results_are_the_terminal_records(settings):
    made = JobFinished(
        id="1", job="default/a", job_id="a", tenant="default", state="failed", lane="bulk", model="shapes",
        requested_at_ms=1, finished_at_ms=2, sequence=3, reason=REFUSED,
    )  # fmt: skip
    write(settings, JOBS_FINISHED, "default/a", made)
    assert list(Operator(settings).results(follow=False)) == [made]


def test_the_live_view_is_drawn_on_a_terminal(shell, settings):
    pty = pytest.importorskip("pty")
    worker = WorkerState(
        worker_id="box-1", pool="cpu", device="cpu", partitions=(0,), models=("shapes",), pending=("abcdef0123",),
        capacity=2, step=3, steps=8, at_ms=2**50,
    )  # fmt: skip
    write(settings, WORKERS_STATE, "box-1", worker)
    write(settings, JOBS_STATE, "default/a", state("a", "queued", progress=Progress(chunks=2, queue_position=0)))
    ours, theirs = pty.openpty()
    environment = {**shell.environment, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    with subprocess.Popen(
        [sys.executable, "-m", "ops", "watch", "a"], env=environment, cwd=PACKAGE_ROOT, stderr=theirs,
        stdout=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        os.close(theirs)
        text = _read_until(ours, "box-1", "step 3/8", "next")
        assert "abcdef01" in text
        write(settings, JOBS_STATE, "default/a", state("a", "completed", 2, progress=Progress(chunks=2, rendered=2)))
        _read_until(ours, "completed", "2/2")
        assert process.wait(60) == 0
    os.close(ours)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_starts_everything_and_leaves_nothing_behind(bare_settings, kafka_jars, number):
    process = Shell(bare_settings).start("up", "--port", "0")
    said = []
    while not said or not said[-1].startswith("next, in another terminal: reelbus submit"):
        said.append(process.stderr.readline())
        assert said[-1], "".join(said)
    ours = _children_of(process.pid)
    assert len(ours) >= 10  # the broker and nine stages
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, ""), err
    assert err.splitlines()[-1] == "stopped"
    assert "Traceback" not in err
    assert [pid for pid in ours if Path(f"/proc/{pid}").exists()] == []


def test_up_says_which_port_is_taken(bare_settings, broker):
    _, err = Shell(bare_settings)("up", "--port", str(broker.port), code=1)
    assert f"port {broker.port} is taken by" in err


def _children_of(pid):
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def _read_until(terminal, *words):
    """What was drawn until every word was seen; the test's own time limit ends a wait in vain."""
    text = ""
    while not all(word in text for word in words):
        text += os.read(terminal, 65536).decode(errors="replace")
    return text


def test_simulate_plays_the_jobs_that_were_asked_for(shell, settings) -> None:
    now_ms = int(time.time() * 1000)
    for lane in LANES:
        for number in range(3):
            made = plan(f"{lane}-{number}", lane=lane, chunks=2, requested_at_ms=now_ms - 60_000 + number)
            write(settings, PLANS_READY[lane], made.job, made, made)  # as a restart of prioritise writes it again
    old = plan("old", requested_at_ms=now_ms - 10 * 3_600_000)
    write(settings, PLANS_READY["bulk"], old.job, old)
    out, _ = shell("simulate", "--from-topic", "--since", "1h", "--gpus", "1,2", "--json")
    assert [(o["gpus"], o["jobs"], o["completed"]) for o in json.loads(out)["outcomes"]] == [(1, 9, 9), (2, 9, 9)]
    _, err = shell("simulate", "--from-topic", "--since", "2h", "--until", "1h", code=2)
    assert "no job was asked for between these moments" in err
