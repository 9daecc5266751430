"""`reelbus batch` as a user types it, on the real broker; where answers matter, with the real stages."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops import topics_admin
from ops.bus import clients
from ops.local.kafka import LocalKafka
from ops.local.supervisor import Supervisor
from ops.settings import Settings
from producers.batch.files import load, path_of
from schemas.codec import decode, encode
from schemas.envelope import HEADER
from schemas.events import JobFinished
from schemas.ids import job_key
from schemas.request import JobRequest
from schemas.topics import JOBS_FINISHED
from stream_processors.moderate.shell import load_tenants
from tests.e2e.batch_shell import LIMIT_S, Shell

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
BALL = {"prompt": "a red ball", "duration_s": 1, "lane": "bulk", "output.width_px": 128, "output.height_px": 128}


@pytest.fixture
def shell(settings: Settings, tmp_path: Path) -> Shell:
    return Shell(settings, tmp_path)


# ---- sending -------------------------------------------------------------------------------------------------------


def test_right_rows_are_sent_once_and_wrong_ones_are_told(shell: Shell) -> None:
    name = shell.rows("rows.jsonl", [{**BALL, "seed": n, "duration_s": n % 4 - 0.5} for n in range(40)])
    out, err = shell("submit", name, "--batch-id", "b", code=1)
    assert "batch b: 30 jobs sent, 30 of them now" in err
    assert "10 jobs were wrong and not sent; see b.errors.jsonl" in err
    assert out == ""
    told = [json.loads(line) for line in (shell.folder / "b.errors.jsonl").read_text().splitlines()]
    assert [(line["source"], line["row"], line["field"]) for line in told] == [
        (name, number, "shots[0].duration_s") for number in range(1, 41, 4)
    ]
    requests = shell.requests()
    assert {request.shots[0].seed for request in requests} == {n for n in range(40) if n % 4}
    assert {(request.batch_id, request.tenant) for request in requests} == {("b", "default")}
    assert all(record.key == decode(JobRequest, record.value).job_id.encode() for record in shell.sent())

    _, err = shell("submit", name, "--batch-id", "b", code=1)
    assert "going on with batch b: 30 sent before" in err
    assert "30 jobs sent, 0 of them now" in err
    assert len(shell.sent()) == 30
    assert (shell.folder / "b.errors.jsonl").read_text().count("\n") == 10

    shell.rows(name, [BALL] * 50)
    _, err = shell("submit", name, "--batch-id", "b", code=1)
    assert "rows.jsonl has changed since batch b was begun; give this one another --batch-id" in err
    shell("submit", name, "--batch-id", "b", "--unchanged", code=1)
    assert len(shell.sent()) == 40, "the rows behind those that were there"
    shell("submit", name)
    assert len(shell.sent()) == 90, "a batch of another name"


def test_tables_templates_and_standard_input(shell: Shell) -> None:
    (shell.folder / "sku.csv").write_text("sku,what,s\na1,shoe,1\na2,hat,2\n")
    (shell.folder / "ad.toml").write_text(
        'job_id = "ad-{sku}"\n[metadata]\ncolour = "{colour}"\n'
        '[[shots]]\nprompt = "a {colour} {what}"\nduration_s = "{s}"\n'
    )
    wide = ["--template", "ad.toml", "--matrix", "colour=red,blue", "--set", "lane=express", "--set", "output.fps=12"]
    out, err = shell("validate", "sku.csv", *wide, "--json", "--workers", "2", "--price-per-hour", "3600")
    told = json.loads(out)
    assert (told["jobs"], told["wrong"], told["video_s"], told["lanes"]) == (4, 0, 6.0, {"express": 4})
    assert told["device_s"] == told["cost"] == 2 * told["wall_s"] > 0
    shell("submit", "sku.csv", *wide)
    jobs = {request.job_id: request for request in shell.requests()}
    assert {job: request.shots[0].prompt for job, request in jobs.items()} == {
        "ad-a1.0": "a red shoe", "ad-a1.1": "a blue shoe", "ad-a2.0": "a red hat", "ad-a2.1": "a blue hat",
    }  # fmt: skip
    assert all(r.lane == "express" and r.output.fps == 12 for r in jobs.values())
    assert jobs["ad-a1.1"].metadata == {"colour": "blue"}

    line = {"custom_id": "o-1", "method": "POST", "url": "/v1/videos", "body": {"prompt": "x", "seconds": "2"}}
    shell("submit", "-", "--batch-id", "piped", stdin=json.dumps(line) + "\n")
    assert "o-1" in {request.job_id for request in shell.requests()}
    _, err = shell("submit", "-", code=2, stdin="")
    assert "need --batch-id" in " ".join(err.replace("│", " ").split())


def test_what_validate_says_is_wrong(shell: Shell) -> None:
    rows = [
        BALL, {**BALL, "custom_id": "x"}, {**BALL, "custom_id": "x", "seed": 3}, {**BALL, "model": "sora"},
        {**BALL, "prompt": "child porn"}, {**BALL, "reply_topic": "somebody"}, {**BALL, "output.fps": 61},
    ]  # fmt: skip
    out, _ = shell("validate", shell.rows("rows.jsonl", rows), "--json", "--batch-id", "v", code=1)
    assert {key: json.loads(out)[key] for key in ("jobs", "wrong", "errors")} == {
        "jobs": 2, "wrong": 5, "errors": "v.wrong.jsonl",
    }  # fmt: skip
    told = [json.loads(line) for line in (shell.folder / "v.wrong.jsonl").read_text().splitlines()]
    assert [(line["row"], line["field"]) for line in told] == [
        (3, "job_id"), (4, "model"), (5, "shots[0].prompt"), (6, "reply_topic"), (7, "output.fps"),
    ]  # fmt: skip
    assert "row 2 of rows.jsonl" in told[0]["message"]
    assert shell.sent() == []


def test_a_rate_is_kept(shell: Shell) -> None:
    shell("submit", shell.rows("rows.jsonl", [BALL] * 41), "--rate", "40")
    moments = sorted(record.timestamp_ms for record in shell.sent())
    assert len(moments) == 41
    # A slow machine only makes it longer. 20 ms of lingering may bring neighbours together.
    assert moments[-1] - moments[0] >= 900


def test_every_request_is_signed(shell: Shell) -> None:
    (shell.folder / "acme.key").write_text("hmac:" + "c2VjcmV0" * 8)
    (shell.folder / "tenants.toml").write_text('[[tenants.acme.keys]]\nid = "acme"\nhmac_secret_file = "acme.key"\n')
    shell("submit", shell.rows("rows.jsonl", [BALL] * 3), "--tenant", "acme", "--signing-key", "acme.key")
    records = shell.sent()
    assert len(records) == 3
    assert all(any(name == HEADER for name, _ in record.headers) for record in records)
    tenants = load_tenants(shell.settings.replace(tenants=str(shell.folder / "tenants.toml")))
    assert [tenants.check(record, "acme") for record in records] == ["acme"] * 3


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_stopped_knows_what_it_sent(shell: Shell, sign: signal.Signals, code: int) -> None:
    command = ["submit", shell.rows("rows.jsonl", [{**BALL, "seed": n} for n in range(400)]), "--batch-id", "b"]
    run = shell.start(*command, "--rate", "100")
    shell.until(lambda: len(shell.sent()) > 20, "some jobs")
    other = shell(*command, code=1)
    assert "another process is sending this batch" in other[1]
    run.send_signal(sign)
    _, err = run.communicate(timeout=LIMIT_S)
    assert run.returncode == code, err
    assert "Traceback" not in err
    kept = load(path_of(shell.settings.data_dir, "b"))
    assert kept is not None
    assert 20 < kept.sent == len(shell.sent()) < 400
    shell(*command)
    requests = shell.requests()
    assert sorted(request.shots[0].seed or 0 for request in requests) == list(range(400)), "nothing was sent again"


# ---- results -------------------------------------------------------------------------------------------------------


def end(settings: Settings, request: JobRequest, batch_id: str) -> None:
    """What track writes when a job has ended."""
    job = job_key(request.tenant, request.job_id)
    done = JobFinished(
        id=job, job=job, job_id=request.job_id, tenant=request.tenant, state="completed", lane=request.lane,
        model=request.model, requested_at_ms=1, finished_at_ms=2, sequence=9, batch_id=batch_id,
    )  # fmt: skip
    producer = clients.producer(settings)
    producer.produce(JOBS_FINISHED.name(settings.prefix), key=job, value=encode(done))
    assert producer.flush(30) == 0


def test_no_more_jobs_are_unfinished_than_allowed(shell: Shell) -> None:
    rows = shell.rows("rows.jsonl", [{**BALL, "seed": n} for n in range(8)])
    command = ["submit", rows, "--batch-id", "b", "--max-unfinished", "3", "--follow"]
    run = shell.start(*command)

    def jobs() -> dict[int, JobRequest]:
        """By row: what was on its way at the kill comes again."""
        return {request.shots[0].seed or 0: request for request in shell.requests()}

    for ended in range(8):
        allowed = min(8, 3 + ended)
        shell.until(lambda allowed=allowed: len(jobs()) >= allowed, "the next job")  # type: ignore[misc]
        assert len(jobs()) == allowed
        end(shell.settings, jobs()[ended], "b")
        if ended == 4:
            run.kill()
            run.communicate()
            run = shell.start(*command)
    out, err = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 0, err
    rows_out = [json.loads(line) for line in out.splitlines()]
    assert len({row["job_id"] for row in rows_out}) == len(rows_out) == 8, "a second run tells all of the batch"
    assert {(row["batch_id"], row["state"]) for row in rows_out} == {("b", "completed")}


STAGES = ("moderate", "split", "prioritise", "dispatch", "track")


@pytest.fixture
def staged(broker: LocalKafka, tmp_path: Path) -> Iterator[Shell]:
    """The real stages up to the scheduler: jobs are accepted, rejected, queued and cancelled, and none is rendered."""
    settings = Settings(
        bootstrap_servers=broker.bootstrap_servers, prefix="batch", store=str(tmp_path / "store"),
        data_dir=str(tmp_path / "data"),
    )  # fmt: skip
    topics_admin.apply(settings, topics_admin.plan(settings))
    with Supervisor([(name, 1) for name in STAGES], settings, report=print):
        yield Shell(settings, tmp_path)


def test_a_batch_from_the_first_row_to_the_last_result(staged: Shell) -> None:
    staged("submit", staged.rows("before.jsonl", [{**BALL, "model": "sora", "job_id": "spent"}]), "--follow", code=3)
    rows = [
        *({**BALL, "seed": n} for n in range(20)),
        {**BALL, "model": "sora"},
        {**BALL, "job_id": "twice"},
        {**BALL, "job_id": "twice", "seed": 5},
        {**BALL, "job_id": "spent"},
    ]
    run = staged.start("submit", staged.rows("rows.jsonl", rows), "--batch-id", "b", "--follow")
    known: dict[str, Any] = {}

    def seen() -> bool:
        process = staged.start("show", "b", "--json")
        out, _ = process.communicate(timeout=LIMIT_S)
        known.update(json.loads(out) if process.returncode == 0 else {})
        return known.get("total") == 22 and known["states"].get("queued") == 21

    staged.until(seen, "21 jobs in the queue and one rejected")
    assert (known["status"], known["sent"], known["refused"], known["unfinished"]) == ("in_progress", 24, 0, 21)
    assert known["states"] == {"queued": 21, "rejected": 1}
    _, err = staged("cancel", "b", "--reason", "changed my mind")
    # The spent id is on the request topic and no job of this batch: cancelling it changes nothing.
    assert "asked to cancel 22 jobs" in err
    out, err = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 3, err
    results = {row["job_id"]: row for row in map(json.loads, out.splitlines())}
    assert len(results) == len(out.splitlines()) == 23
    assert (results["spent"]["state"], results["twice"]["state"]) == ("rejected", "cancelled")
    assert sum(row["state"] == "cancelled" for row in results.values()) == 21

    listed = {row["batch_id"]: row for row in map(json.loads, staged("list", "--json")[0].splitlines())}
    assert listed["b"]["status"] == "finished"
    assert listed["b"]["states"] == {"cancelled": 21, "rejected": 1}
    assert len(listed) == 2
    assert [line.split()[:3] for line in staged("list")[0].splitlines()][-1] == ["b", "finished", "22"]
    staged("export", "b", "--out", "b.jsonl")
    exported = {row["job_id"]: row for row in map(json.loads, (staged.folder / "b.jsonl").read_text().splitlines())}
    ours = {job: row for job, row in results.items() if job != "spent"}
    assert set(exported) == set(ours)
    assert {row["reason_message"] for row in exported.values() if row["state"] == "cancelled"} == {"changed my mind"}
    parquet = pytest.importorskip("pyarrow.parquet")
    staged("export", "b", "--out", "b.parquet", "--finished")
    assert {row["job_id"]: row for row in parquet.read_table(staged.folder / "b.parquet").to_pylist()} == exported
    assert "nothing is known of batch c" in staged("show", "c", code=1)[1]
    assert "nothing is known of batch c" in staged("cancel", "c", code=1)[1]
