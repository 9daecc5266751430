"""The audit trail on a real broker: its chains hold through kills of track, and what is put between them shows."""

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.bus import audit, clients
from ops.bus.sending import Outbox
from ops.cli.app import app
from ops.settings import Settings
from ops.switches import switched_off, turn
from schemas.events import JobEvent, Reason
from schemas.records import Outgoing
from schemas.topics import AUDIT_TRAIL, JOBS_EVENTS
from tests.e2e.stage_process import running

pytestmark = pytest.mark.kafka
JOBS, KILLS = 90, 2
PATIENCE_S = 90.0


def events(first: int, count: int) -> list[Outgoing]:
    out = []
    for number in range(first, first + count):
        job = f"acme/{number}"
        for kind in ("job.accepted", "job.cancelled"):
            told = JobEvent(id=f"{kind}-{number}", source="moderate", type=kind, job=job, at_ms=number)  # type: ignore[arg-type]
            out.append(Outgoing(JOBS_EVENTS, job, told))
    return out


def kinds(settings: Settings) -> list[tuple[str, str]]:
    return sorted((entry.job, entry.kind) for _, _, entry in audit.entries(settings) if entry is not None)


def until(settings: Settings, jobs: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(kinds(settings)) < 2 * jobs:
        assert time.monotonic() < deadline, f"{len(kinds(settings))} entries of {2 * jobs}"
        time.sleep(0.2)


def command(settings: Settings, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["audit", *arguments], env={**settings.environment(), "COLUMNS": "200"})
    return done.exit_code, done.output


def refusals(tenant: str, prompts: int, others: int) -> list[Outgoing]:
    codes = ["prompt_refused"] * prompts + ["limit_exceeded"] * others
    return [
        Outgoing(JOBS_EVENTS, f"{tenant}/{n}", JobEvent(
            id=f"{tenant}-{n}", source="moderate", type="job.rejected", job=f"{tenant}/{n}", at_ms=n,
            reason=Reason(code=code, message="refused"),
        ))
        for n, code in enumerate(codes)
    ]  # fmt: skip


def test_who_is_refused_too_often_is_paused_and_nobody_else(settings: Settings) -> None:
    outbox = Outbox(clients.producer(settings), settings.prefix, "test")
    with running(settings, "ops", "run", "track"):
        outbox.send([*refusals("often", 4, 1), *refusals("once", 1, 0), *refusals("clumsy", 1, 9)])
        assert outbox.producer.flush(30) == 0
        deadline = time.monotonic() + PATIENCE_S
        while len(kinds(settings)) < 16:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    for _ in range(2):
        code, said = command(settings, "tenants", "--over", "0.5", "--least", "2", "--pause")
        assert code == 1
        assert "often" in said
        (switch,) = switched_off(settings)
        assert (switch.kind, switch.name, switch.state) == ("tenant", "often", "off")
    turn(settings, "tenant", "often", "on")
    command(settings, "tenants", "--over", "0.5", "--least", "2", "--pause")
    assert switched_off(settings) == [], "what went before was forgiven"


def test_chains_hold_through_kills_and_what_is_put_between_shows(settings: Settings, tmp_path: Path) -> None:
    outbox = Outbox(clients.producer(settings), settings.prefix, "test")
    step = JOBS // (KILLS + 1)
    for number in range(KILLS):
        with running(settings, "ops", "run", "track") as track:
            outbox.send(events(number * step, step))
            assert outbox.producer.flush(30) == 0
            if number % 2:
                until(settings, number * step)  # in the middle of what is new, if all goes well
            track.kill()
            track.wait()
    noted = tmp_path / "heads.json"
    with running(settings, "ops", "run", "track"):
        outbox.send(events(KILLS * step, step))
        assert outbox.producer.flush(30) == 0
        until(settings, JOBS)
        expected = sorted((f"acme/{n}", kind) for n in range(JOBS) for kind in ("accepted", "cancelled"))
        assert kinds(settings) == expected, "each once"
        assert command(settings, "verify", "--note", str(noted))[0] == 0
        outbox.send_raw(AUDIT_TRAIL.name(settings.prefix), b"acme/0", b"\x00junk", [])
        assert outbox.producer.flush(30) == 0
        outbox.send(events(JOBS, step))
        until(settings, JOBS + step)
    code, said = command(settings, "verify", "--since", str(noted))
    assert (code, said.count("BROKEN")) == (1, 1)
    assert "is no audit entry" in said
    assert command(settings, "tenants", "--over", "0")[0] == 0, "nobody was refused"
    assert command(settings, "tenants", "--pause")[0] == 2
    assert switched_off(settings) == []
    code, said = command(settings, "list", "--job", "acme/7")
    assert code == 0
    assert ("accepted" in said, "cancelled" in said, "acme/8" in said) == (True, True, False)
