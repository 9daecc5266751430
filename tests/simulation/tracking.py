"""track's shell: folds events into states, as wide as the partitions of jobs.events, in transactions."""

from schemas.events import JobState
from schemas.lifecycle import TERMINAL
from schemas.records import Incoming, Outgoing
from schemas.topics import JOBS_EVENTS, JOBS_STATE
from stream_processors.track.core import take
from tests.simulation.groups import Effects
from tests.simulation.log import Place
from tests.simulation.process import IDLE, Process
from tests.simulation.tables import load
from tests.simulation.transaction import Transactions

GROUP = "track"
READ_AT_ONCE = 20


class _Shell:
    def __init__(self, process: Process) -> None:
        self.process, self.world = process, process.world
        self.states: dict[int, dict[str, JobState]] = {}
        self.offsets_seen: dict[int, set[int]] = {}
        self.transactions = Transactions(process, str(process.slot), GROUP, None)
        self.consumer = process.consumer(GROUP, [JOBS_EVENTS.entity], on_assign=self.assigned, on_revoke=self.gone)
        self.transactions.member = self.consumer

    def assigned(self, places: list[Place]) -> Effects:
        bugs, log = self.world.bugs, self.world.log
        patient = "track reads its table too early" not in bugs
        # First the offsets, which a predecessor may still be committing; then all that was written until then.
        while patient and not all(self.world.group(GROUP).stable(place) for place in places):
            yield IDLE
        for _, partition in places:
            rows = yield from load(log, [(JOBS_STATE.entity, partition)], patient=patient)
            self.states[partition] = {} if "track state not restored" in bugs else rows
            yield "track.loaded"

    def gone(self, places: list[Place]) -> None:
        for _, partition in places:
            self.states.pop(partition, None)

    def step(self) -> Effects:
        taken: list[Incoming] = []
        while len(taken) < READ_AT_ONCE and (record := (yield from self.consumer.poll())) is not None:
            taken.append(record)
        taken = [r for r in taken if r.partition in self.states]
        if not taken:
            yield IDLE
            return
        out: list[Outgoing] = []
        for record in taken:
            out += self.take(record)
        yield from self.transactions.commit(out, {(r.topic, r.partition): r.offset + 1 for r in taken}, taken)

    def take(self, record: Incoming) -> list[Outgoing]:
        states, event = self.states[record.partition], record.value
        known = states.get(event.job)
        if "dedupe by offset" in self.world.bugs and known is not None and known.state in TERMINAL:
            seen = self.offsets_seen.setdefault(record.partition, set())
            known = known if record.offset in seen else None
        self.offsets_seen.setdefault(record.partition, set()).add(record.offset)
        state, out = take(known, event, record.partition)
        if state is not None:
            states[event.job] = state
        return list(out)


def track(process: Process) -> Effects:
    shell = _Shell(process)
    while not process.stopping:
        yield from shell.step()
    shell.consumer.close()
