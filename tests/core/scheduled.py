"""What a scheduler wrote, sorted, for tests of its core."""

from schemas.events import JobEvent
from schemas.plan import Plan
from schemas.records import Outgoing
from schemas.work import ChunkTask, Command, MuxTask
from tests.core.plans import result

WEIGHTS = {"express": 8.0, "standard": 3.0, "bulk": 1.0}


def tasks(out: list[Outgoing]) -> list[ChunkTask]:
    return [o.record for o in out if isinstance(o.record, ChunkTask)]


def mux_tasks(out: list[Outgoing]) -> list[MuxTask]:
    return [o.record for o in out if isinstance(o.record, MuxTask)]


def events(out: list[Outgoing]) -> list[str]:
    return [o.record.type for o in out if isinstance(o.record, JobEvent)]


def answer(action: str, of: Plan) -> Command:
    """What track says of a request that was taken in."""
    return Command(job=of.job, action=action, fingerprint=of.fingerprint)


def render_all(scheduler, now_ms: int = 10, rounds: int = 50) -> list[Outgoing]:
    """Let one perfect worker render until nothing is handed out any more."""
    everything: list[Outgoing] = []
    for _ in range(rounds):
        out = scheduler.tick(now_ms)
        everything += out
        for task in tasks(out):
            everything += scheduler.on_inspected(result(task), now_ms)
        if not tasks(out):
            break
    return everything
