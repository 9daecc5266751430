"""The workers of one pool and their partitions: tasks are handed out, workers die and come back. Pure."""

import math
from functools import partial

from ops.simulate.hardware import Fleet
from ops.simulate.partitions import TaskLog
from ops.simulate.traces import HandedOut, Traces, WorkerTrace
from ops.simulate.worker import Worker, World
from schemas.work import ChunkTask, ChunkWithdrawn

REBALANCE_MS = 10_000
"""After a death: how long Kafka takes to give the partition to another worker."""


class Pool:
    """All workers are up, and warm, at now_ms."""

    def __init__(self, fleet: Fleet, world: World, traces: Traces, now_ms: int) -> None:
        self._fleet, self._world, self._traces = fleet, world, traces
        self._logs = [TaskLog(number) for number in range(fleet.workers)]
        traces.workers = [WorkerTrace(f"gpu-{number}") for number in range(fleet.workers)]
        self._workers = [self._born(number, now_ms, tuple(fleet.models)) for number in range(fleet.workers)]
        for number, worker in enumerate(self._workers):
            worker.assigned(number)
        for number, (at_s, away_s) in fleet.hardware.deaths.items():
            world.later(now_ms + round(at_s * 1000), partial(self._die, number, away_s))

    def announce(self, now_ms: int) -> None:
        """Every worker says what it is at, if that is due."""
        for worker in self._workers:
            worker.announce(now_ms)

    def committed(self, partition: int, offset: int) -> None:
        """A worker will not need what lies before this offset again."""
        self._logs[partition].committed = offset

    def hand_out(self, partition: int, task: ChunkTask, now_ms: int) -> None:
        """Append a task to a partition."""
        entry, spec = self._fleet.models[task.spec.model], task.spec
        cost_s = self._fleet.hardware.chunk_s(entry, spec.width_px, spec.height_px, task.chunk_id)
        log = self._logs[partition]
        handed = HandedOut(now_ms, task.job, task.index, task.attempt, spec.tenant, task.lane, log.owner, cost_s)
        self._traces.handed_out.append(handed)
        log.tasks.append(task)
        self._world.later(now_ms + self._fleet.hop_ms, partial(self._read, partition))

    def withdraw(self, said: ChunkWithdrawn, now_ms: int) -> None:
        """Tell everybody that nobody wants a chunk any more."""
        for worker in self._workers:
            if worker.alive:
                worker.withdrawn(said, now_ms)

    def _read(self, partition: int, now_ms: int) -> None:
        log = self._logs[partition]
        worker = self._workers[log.owner]
        if worker.alive:
            for offset, task in log.unread():
                worker.take(partition, offset, task, now_ms)

    def _born(self, number: int, now_ms: int, warm: tuple[str, ...] = ()) -> Worker:
        trace, fleet = self._traces.workers[number], self._fleet
        worker = Worker(number, fleet.pool, fleet.models, fleet.hardware, self._world, trace, warm)
        worker.start(now_ms)
        return worker

    def _die(self, number: int, away_s: float, now_ms: int) -> None:
        self._workers[number].die()
        self._world.later(now_ms + REBALANCE_MS, self._rebalance)
        if away_s < math.inf:
            self._world.later(now_ms + round(away_s * 1000), partial(self._return, number))

    def _rebalance(self, now_ms: int) -> None:
        """Partitions of the dead go to the living; what was not committed is read again."""
        living = [worker.number for worker in self._workers if worker.alive]
        for partition, log in enumerate(self._logs):
            if living and not self._workers[log.owner].alive:
                log.given_to(living[partition % len(living)])
                self._workers[log.owner].assigned(partition)
                self._read(partition, now_ms)

    def _return(self, number: int, now_ms: int) -> None:
        """A new process in the place of one that died: cold, and its partition comes back to it."""
        own = self._logs[number]
        if own.owner != number:
            self._workers[own.owner].gone(number, now_ms)
        worker = self._workers[number] = self._born(number, now_ms)
        own.given_to(number)
        for partition, log in enumerate(self._logs):
            if log.owner == number:
                worker.assigned(partition)
                log.given_to(number)
                self._read(partition, now_ms)
        self._rebalance(now_ms)
