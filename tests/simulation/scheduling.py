"""dispatch's shell: leads alone, restores its rows, reads a little, decides, writes it all in one transaction."""

from schemas.errors import Fatal, InvalidMessage
from schemas.records import Incoming, Outgoing
from schemas.reviews import ReviewDecision
from schemas.topics import (
    CHUNKS_INSPECTED,
    DISPATCH_STATE,
    JOBS_CONTROL,
    PLANS_PARKED,
    PLANS_READY,
    REVIEWS_DECIDED,
    WORKERS_STATE,
)
from schemas.work import Command
from stream_processors.dispatch.backlog import Backlog, line_of
from stream_processors.dispatch.core import Scheduler
from tests.simulation.groups import Effects, Group, record
from tests.simulation.log import Log, Place
from tests.simulation.process import IDLE, Process
from tests.simulation.tables import load
from tests.simulation.transaction import Transactions

GROUP = "dispatch"
LEADER = "dispatch.leader"
READ_AT_ONCE = 100
WINDOW_JOBS = 2
"""200 in the real scheduler; small here, so that jobs are parked and read again."""


class _Reader:
    """Partitions assigned by hand: no member, no generation."""

    def __init__(self, log: Log, group: Group, backlog: Backlog) -> None:
        self._log, self._backlog = log, backlog
        lanes = [t.entity for t in PLANS_READY.values()]
        topics = [*lanes, PLANS_PARKED.entity, CHUNKS_INSPECTED.entity, JOBS_CONTROL.entity, REVIEWS_DECIDED.entity]
        self.positions: dict[Place, int] = {p: group.committed(p) for topic in topics for p in log.places(topic)}
        self.positions |= {p: log.end(p) for p in log.places(WORKERS_STATE.entity)}
        self._blocked: dict[Place, str] = {}

    def read(self, most: int) -> list[Incoming]:
        records: list[Incoming] = []
        room: dict[str, int] = {}
        for place, offset in self.positions.items():
            while place not in self._blocked and len(records) < most:
                offset, entry = self._log.next(place, offset, committed_only=True)
                self.positions[place] = offset if entry is None else offset + 1
                if entry is None:
                    break
                if place[0] == PLANS_PARKED.entity and not self._backlog.fitting([entry.value], room):
                    self.positions[place], self._blocked[place] = offset, line_of(entry.value)
                    break
                records.append(record(place, offset, entry))
                offset += 1
        return records

    def resume(self) -> None:
        self._blocked = {p: line for p, line in self._blocked.items() if not self._backlog.wants(line)}


class _Shell:
    def __init__(self, process: Process) -> None:
        self.process, self.world = process, process.world
        self.leads = self.lost = False
        buckets = len(self.world.log.places(PLANS_PARKED.entity))
        self.scheduler = Scheduler(self.world.lane_weights, buckets=buckets, window_jobs=WINDOW_JOBS)

    def won(self, places: list[Place]) -> Effects:
        self.leads = self.leads or bool(places)
        yield from ()

    def gone(self, places: list[Place]) -> None:
        self.lost = self.leads and bool(places)

    def restore(self) -> Effects:
        rows = yield from load(self.world.log, self.world.log.places(DISPATCH_STATE.entity))
        plans = [plan for key, plan in rows.items() if key.endswith("#plan")]
        parked = [row for key, row in rows.items() if key.endswith("#parked")]
        kept = [row for key, row in rows.items() if key.endswith(("#progress", "#orders"))]
        accounts = [row for key, row in rows.items() if key.endswith("#account")]
        self.scheduler.restore(plans, kept, parked, accounts)

    def take(self, read: Incoming, now_ms: int) -> list[Outgoing]:
        scheduler = self.scheduler
        if read.topic == WORKERS_STATE.entity:
            scheduler.on_worker(read.value, now_ms)
            return []
        if read.topic == CHUNKS_INSPECTED.entity:
            return scheduler.on_inspected(read.value, now_ms)
        if isinstance(read.value, ReviewDecision):
            return scheduler.on_review(read.value, now_ms)
        if isinstance(read.value, Command):
            return scheduler.on_control(read.value, now_ms)
        if read.topic == PLANS_PARKED.entity:
            return scheduler.on_parked(read.value, now_ms)
        return scheduler.on_plan(read.value, now_ms)

    def step(self, reader: _Reader, transactions: Transactions) -> Effects:
        reader.resume()
        records = reader.read(READ_AT_ONCE)
        now_ms = self.world.clock.wall_ms()
        out: list[Outgoing] = []
        for read in records:
            try:
                out += self.take(read, now_ms)
            except InvalidMessage as exc:
                self.world.bury(read, exc)
        out += self.scheduler.tick(now_ms)
        counted = [r for r in records if r.topic != WORKERS_STATE.entity]
        if not out and not counted:
            yield IDLE
            return
        offsets = {(r.topic, r.partition): r.offset + 1 for r in counted}
        if "offsets beside the transaction" in self.world.bugs:
            self.world.log.committed.update({(GROUP, place): offset for place, offset in offsets.items()})
        yield from transactions.commit(out, offsets, counted)


def dispatch(process: Process) -> Effects:
    shell = _Shell(process)
    leadership = process.consumer(f"{GROUP}-leader", [LEADER], on_assign=shell.won, on_revoke=shell.gone)
    while not shell.leads:
        yield from leadership.poll()
        yield IDLE
    yield "dispatch.leads"
    transactions = Transactions(process, "leader", GROUP, None)
    yield "dispatch.initialised"
    if "dispatch state not restored" not in process.world.bugs:
        yield from shell.restore()
    yield "dispatch.restored"
    reader = _Reader(process.world.log, process.world.group(GROUP), shell.scheduler.backlog)
    while not process.stopping:
        yield from leadership.poll()
        if shell.lost:
            raise Fatal("another scheduler leads now")
        yield from shell.step(reader, transactions)
    leadership.close()
