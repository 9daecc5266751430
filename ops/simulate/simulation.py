"""The event loop: jobs arrive, a policy decides, workers render, in virtual time. Pure: same input, same result.

What dispatch's shell does is done here as it does it: read what has come, ask what is due, carry out what was decided.
track answers at once that the request owns its id, moderation lets every frame pass, and a job is done when all of its
chunks are handed to the muxer.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappop, heappush

from ops.simulate.hardware import Fleet
from ops.simulate.partitions import ParkedLog
from ops.simulate.policy import Policy
from ops.simulate.pool import Pool
from ops.simulate.traces import JobTrace, Told, Traces
from schemas.events import JobEvent
from schemas.lifecycle import ENDS
from schemas.plan import Plan
from schemas.records import Outgoing
from schemas.topics import PLANS_PARKED
from schemas.work import (
    ChunkInspected,
    ChunkRendered,
    ChunkTask,
    ChunkWithdrawn,
    Command,
    FrameVerdict,
    MuxTask,
    WorkerState,
)

HEARTBEAT_MS = 5_000
"""How often a worker says that it lives. In production it does so every second; between two changes that only keeps it
from being taken for dead, which takes 15 s of silence."""
STALL_MS = 24 * 3_600_000
"""So long without an arrival or a rendered chunk: what is left will never end."""
READ_AT_ONCE = 100
ALLOWED = FrameVerdict(verdict="allow", provider="simulated", frames_checked=1)


class Simulation:
    """plans: in the order of their arrival (`requested_at_ms`). parked: plans.parked, for a policy that parks."""

    def __init__(self, plans: Sequence[Plan], policy: Policy, fleet: Fleet, parked: ParkedLog | None = None) -> None:
        self.traces = Traces(began_ms=plans[0].requested_at_ms if plans else 0)
        self.store: set[str] = set()
        self._plans, self._arrived = plans, 0
        self._policy, self._fleet, self._parked = policy, fleet, parked
        self._events: list[tuple[int, int, Callable[[int], None]]] = []
        self._numbers = 0
        self._inbox: list[Callable[[int], Sequence[Outgoing]]] = []
        self._unfinished = 0
        self._moved_ms = self.traces.began_ms
        self._beating = False
        self._pool = Pool(fleet, self, self.traces, self.traces.began_ms)

    # ---- running ---------------------------------------------------------------------------------------------------

    def run(self, until_ms: float = math.inf, after_round: Callable[[int], None] | None = None) -> Traces:
        """Run until every job has ended, or until a moment of the simulated clock. after_round: called with the time
        whenever all that happens at it has happened."""
        self._next_arrival()
        while self._events and self._events[0][0] <= until_ms:
            now_ms = self._events[0][0]
            while self._events and self._events[0][0] == now_ms:
                heappop(self._events)[2](now_ms)
            if self._inbox:
                self._round(now_ms)
            self.traces.ended_ms = now_ms
            if after_round is not None:
                after_round(now_ms)
            if now_ms - self._moved_ms > STALL_MS:
                break
        return self.traces

    def later(self, at_ms: int, do: Callable[[int], None]) -> None:
        """Call `do` with the time at that time. Things of the same moment happen in the order they were asked for."""
        self._numbers += 1
        heappush(self._events, (at_ms, self._numbers, do))

    def _next_arrival(self) -> None:
        if self._arrived < len(self._plans):
            plan = self._plans[self._arrived]
            self._arrived += 1
            self.later(plan.requested_at_ms, lambda now_ms: self._arrive(plan, now_ms))

    def _arrive(self, plan: Plan, now_ms: int) -> None:
        self.traces.jobs[plan.job] = JobTrace(plan)
        self._unfinished += 1
        self._moved_ms = now_ms
        self._beat(now_ms)
        self._inbox.append(lambda at_ms: self._policy.on_plan(plan, at_ms))
        self._next_arrival()

    def _beat(self, now_ms: int) -> None:
        """Workers say that they live while there is work; when there is none, nothing would come of it."""
        if self._beating:
            return
        self._beating = True
        self._heartbeat(now_ms)

    def _heartbeat(self, now_ms: int) -> None:
        if not self._unfinished:
            self._beating = False
            return
        self._pool.announce(now_ms)
        self._inbox.append(lambda at_ms: ())  # so that the scheduler is asked what is due, with nothing heard too
        self.later(now_ms + HEARTBEAT_MS, self._heartbeat)

    # ---- the scheduler ---------------------------------------------------------------------------------------------

    def _round(self, now_ms: int) -> None:
        """What dispatch's shell does in one round: take in what has come, ask what is due, carry it out."""
        self.traces.rounds += 1
        records, self._inbox = self._inbox, []
        out: list[Outgoing] = []
        for take in records:
            out += take(now_ms)
        if self._parked is not None:
            for plan in self._parked.read(READ_AT_ONCE):
                out += self._parked.take(plan, now_ms)
        out += self._policy.tick(now_ms)
        for outgoing in out:
            self._carry_out(outgoing, now_ms)

    def _carry_out(self, out: Outgoing, now_ms: int) -> None:
        if isinstance(out.record, JobEvent):
            self._note(out.record, now_ms)
        match out.record:
            case ChunkTask() as task:
                assert out.partition is not None, "the scheduler says which worker"
                self._pool.hand_out(out.partition, task, now_ms)
            case MuxTask() as task:
                self._end(task.plan.job, "completed", now_ms)
                self._order(Command(job=task.plan.job, action="release", mux_attempt=task.attempt), now_ms)
            case JobEvent(type="job.queued") as event:
                self._order(Command(job=event.job, action="admit", fingerprint=event.fingerprint), now_ms)
            case JobEvent() as event if event.type in ENDS:
                self._end(event.job, ENDS[event.type], now_ms)
            case ChunkWithdrawn() as said:
                self.later(now_ms + self._fleet.hop_ms, partial(self._pool.withdraw, said))
            case Plan() as plan if out.topic is PLANS_PARKED:
                assert self._parked is not None, "a policy that parks has somewhere to park"
                self._parked.append(out.partition or 0, plan)
                self._due(now_ms)

    def _note(self, event: JobEvent, now_ms: int) -> None:
        """What is told about when a job will be rendered."""
        if event.progress is not None and event.progress.eta_s is not None:
            self.traces.told.append(Told(now_ms, event.job, event.progress.eta_s))

    def _order(self, command: Command, now_ms: int) -> None:
        self._hear(lambda at_ms: self._policy.on_control(command, at_ms), now_ms)

    def _hear(self, take: Callable[[int], Sequence[Outgoing]], now_ms: int) -> None:
        """A record for the scheduler, on its way."""
        self.later(now_ms + self._fleet.hop_ms, lambda _: self._inbox.append(take))

    def _due(self, now_ms: int) -> None:
        """There is something to read besides: another round soon."""
        self._hear(lambda at_ms: (), now_ms)

    def _end(self, job: str, end: str, now_ms: int) -> None:
        trace = self.traces.jobs[job]
        trace.ends += 1
        if trace.ends == 1:
            trace.end, trace.ended_ms = end, now_ms
            self._unfinished -= 1

    # ---- what workers say (World) ----------------------------------------------------------------------------------

    def began(self, task: ChunkTask, now_ms: int) -> None:
        """A device begins with this chunk."""
        trace = self.traces.jobs[task.job]
        if trace.began_ms is None:
            trace.began_ms = now_ms

    def reported(self, event: ChunkRendered, now_ms: int) -> None:
        """A chunk is done with; moderation lets its frames pass."""
        self._moved_ms = now_ms
        inspected = ChunkInspected(rendered=event, verdict=ALLOWED if event.object is not None else None)
        self._hear(lambda at_ms: self._policy.on_inspected(inspected, at_ms), now_ms)

    def announced(self, state: WorkerState, now_ms: int) -> None:
        """A worker's picture of itself."""

        def hear(at_ms: int) -> Sequence[Outgoing]:
            self._policy.on_worker(state, at_ms)
            return ()

        self._hear(hear, now_ms)

    def committed(self, partition: int, offset: int) -> None:
        """A worker will not need what lies before this offset again."""
        self._pool.committed(partition, offset)
