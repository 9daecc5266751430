"""The render worker as a state machine. Pure: time comes in as `now_s` (monotonic seconds), effects go out as actions.

The way of a task:

    waiting -> preparing -> ready -> device -> storing -> reporting -> done, its offset may be committed
                   |___________________________________________^
                     its object exists already (reused), or it cannot be rendered (failed)

A task that the scheduler withdraws goes to reporting from wherever it is: at once when it is not on the device; at the
next denoise step when nobody wants any other chunk of its batch either, else when the batch is done. One whose frames
are on their way to the store is stored.

Rules that the tests hold it to: offsets are committed per partition, in order, and never past a task that is not
reported; every task is reported unless its partition went away; a task is tried at most MAX_ATTEMPTS times.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from gpu_consumers.render import actions as act
from gpu_consumers.render.actions import Action
from gpu_consumers.render.device import Batch, Device
from gpu_consumers.render.offsets import Offsets
from gpu_consumers.render.protocol import WARM_MODELS
from gpu_consumers.render.withdrawals import Withdrawals
from gpu_consumers.render.works import Work, to_prepare, to_send
from schemas.registry import ModelEntry
from schemas.work import ChunkTask, ChunkWithdrawn, ModelLoad, ObjectRef

MAX_ATTEMPTS = 3
"""Times that one task may fail on the device, or take it down, before it is reported as failed."""
MAX_FAILED_STARTS = 3
"""Device processes in a row that die before they are ready; then the worker stops, because another will not help."""


def capacity_of(entries: Mapping[str, ModelEntry]) -> int:
    """Most chunks that a worker wants pending: one full batch running and one waiting, by its widest model."""
    return 2 * max((entry.max_batch for entry in entries.values()), default=1)


class Core:
    """entries: models of this worker's pool, by name. step_timeout_s: longest time between two beats of the device."""

    def __init__(self, entries: Mapping[str, ModelEntry], pool: str, worker_id: str, step_timeout_s: float) -> None:
        self._entries, self._pool, self._worker_id = entries, pool, worker_id
        self.capacity = capacity_of(entries)
        self.partitions: set[int] = set()
        self.rendered = 0
        self.stopping = False
        self._works: dict[int, Work] = {}
        """By ticket, in the order of arrival."""
        self._dead: dict[int, tuple[int, int]] = {}
        """Dead letters under way: partition and offset by ticket."""
        self._offsets = Offsets()
        self._withdrawals = Withdrawals()
        self._device = Device(step_timeout_s)
        self._next_ticket = self._next_batch = 1

    # ---- what the worker announces ---------------------------------------------------------------------------------

    @property
    def models(self) -> tuple[str, ...]:
        """Models that are warm."""
        return self._device.models

    @property
    def loads(self) -> tuple[ModelLoad, ...]:
        """What loading took, the last time."""
        return tuple(ModelLoad(model, round(load_s, 3)) for model, load_s in self._device.loads.items())

    @property
    def wanted(self) -> int:
        """Chunks that it wants pending now. A cold worker asks for one: what it took would wait for the model to load,
        and an express job behind it."""
        return self.capacity if self._device.models else 1

    def pending(self) -> tuple[str, ...]:
        """Chunk ids taken and not yet reported: those on the device first, the rest in the order of arrival."""
        on_device = [t for batch in self._device.batches for t in batch.tickets]
        return tuple(dict.fromkeys(self._works[t].task.chunk_id for t in (*on_device, *self._works)))

    @property
    def held(self) -> int:
        """Tasks taken and not yet reported."""
        return len(self._works)

    def progress(self) -> tuple[int, int]:
        """Denoise step of the running batch, of how many."""
        running = self._device.batches[:1]
        return (running[0].step, running[0].steps) if running else (0, 0)

    def drained(self) -> bool:
        """After `stop`: nothing is left that would be worth waiting for."""
        return self.stopping and not self._works and not self._dead

    # ---- records and partitions ------------------------------------------------------------------------------------

    def start(self, now_s: float) -> list[Action]:
        """Bring the device up."""
        return [act.StartDevice(self._device.start(now_s))]

    def assigned(self, partitions: Sequence[int]) -> None:
        """These partitions are ours from now on."""
        self.partitions |= set(partitions)

    def gone(self, partitions: Sequence[int]) -> list[Action]:
        """These partitions are not ours any more: what has not reached the device is dropped (its new owner gets it);
        what has is finished and reported, which does no harm, but its offset is not committed."""
        self.partitions -= set(partitions)
        out: list[Action] = []
        for partition in partitions:
            self._offsets.forget(partition)
        for work in [w for w in self._works.values() if w.partition in partitions and w.owned]:
            work.owned = False
            if work.stage in ("waiting", "preparing", "ready"):
                out += self._drop(work)
        self._dead = {ticket: place for ticket, place in self._dead.items() if place[0] not in partitions}
        return out

    def task(self, partition: int, offset: int, task: ChunkTask, now_s: float) -> list[Action]:
        """A task was read."""
        if self.stopping or partition not in self.partitions:
            return []
        ticket = self._ticket(partition, offset)
        work = self._works[ticket] = Work(ticket, partition, offset, task)
        gone = self._give_up(work, now_s) if self._withdrawals.name(task) else []
        return [*gone, *self._advance(now_s)]

    def withdrawn(self, said: ChunkWithdrawn, now_s: float) -> list[Action]:
        """The scheduler says that nobody waits for these tasks any more: those that are here, and that may still
        come."""
        self._withdrawals.add(said)
        named = [w for w in self._works.values() if not w.withdrawn and self._withdrawals.name(w.task)]
        gone = [action for work in named for action in self._give_up(work, now_s)]
        return [*gone, *self._advance(now_s)]

    def _give_up(self, work: Work, now_s: float) -> list[Action]:
        if work.stage == "reporting":
            return []
        work.withdrawn = True
        if work.stage == "storing":
            # Its thread is at it, unless the store gave no answer and it is to be tried again.
            return self._report(work, "withdrawn") if work.not_before_s else []
        if work.stage != "device":
            return self._report(work, "withdrawn")
        batch = self._device.batch_of(work.ticket)
        told = act.Withdraw(batch.number, (work.frames,))
        if batch is self._device.batches[0]:
            return [told]
        batch.lose(work.ticket)
        return [told, *self._report(work, "withdrawn")]

    def invalid(self, partition: int, offset: int) -> list[Action]:
        """A record was read that is no task: it goes to the dead letters, and its offset waits its turn."""
        if self.stopping or partition not in self.partitions:
            return []
        ticket = self._ticket(partition, offset)
        self._dead[ticket] = partition, offset
        return [act.DeadLetter(ticket)]

    def acknowledged(self, ticket: int, now_s: float) -> list[Action]:
        """The report or dead letter of this ticket is on the broker."""
        place = self._dead.pop(ticket, None)
        if ticket in self._works:
            work = self._works.pop(ticket)
            place = (work.partition, work.offset) if work.owned else None
        commit = self._offsets.done(*place) if place is not None else None
        done = [act.Commit(place[0], commit)] if place is not None and commit is not None else []
        return [*done, *self._advance(now_s)]

    def stop(self) -> list[Action]:
        """Take nothing new. What runs on the device is finished, stored, reported and committed; the rest is dropped
        uncommitted and comes again elsewhere."""
        self.stopping = True
        behind = self._device.batches[1:]
        # The device has them in its inbox, and would render from files that are gone while the last chunk is stored.
        told = [act.Withdraw(b.number, tuple(self._works[t].frames for t in b.tickets)) for b in behind if b.tickets]
        waiting = {ticket for batch in behind for ticket in batch.tickets}
        self._device.batches = self._device.batches[:1]
        early = ("waiting", "preparing", "ready")
        dropped = [w for w in self._works.values() if w.ticket in waiting or w.stage in early]
        return [*told, *(action for work in dropped for action in self._drop(work))]

    def _ticket(self, partition: int, offset: int) -> int:
        self._offsets.read(partition, offset)
        self._next_ticket += 1
        return self._next_ticket - 1

    def _drop(self, work: Work) -> list[Action]:
        del self._works[work.ticket]
        return [act.Release(work.ticket)]

    # ---- store -----------------------------------------------------------------------------------------------------

    def prepared(self, ticket: int, outcome: act.Outcome, now_s: float) -> list[Action]:
        """A `Prepare` came back."""
        work = self._works.get(ticket)
        if work is None or work.stage != "preparing":
            return [act.Release(ticket)]  # dropped, or withdrawn, in the meantime
        out: list[Action] = []
        match outcome:
            case act.Reuse(ref):
                out = self._report(work, "reused", ref)
            case act.Unusable(error, given_lost):
                out = self._report(work, "failed", error=error, given_lost=given_lost)
            case act.Usable(given):
                work.given, work.stage, work.store_tries = given, "ready", 0
            case act.Later():
                work.stage = "waiting"
                work.back_off(now_s)
        return [*out, *self._advance(now_s)]

    def stored(self, ticket: int, ref: ObjectRef, now_s: float) -> list[Action]:
        """The chunk's object is in the store, put by us or by somebody before us."""
        self.rendered += 1
        return [*self._report(self._works[ticket], "rendered", ref), *self._advance(now_s)]

    def not_stored(self, ticket: int, now_s: float) -> list[Action]:
        """The store gave no answer: the frames are kept and stored later. An outage is no reason to fail a job."""
        work = self._works[ticket]
        if work.withdrawn:
            return [*self._report(work, "withdrawn"), *self._advance(now_s)]
        work.back_off(now_s)
        return []

    def _report(
        self,
        work: Work,
        status: Literal["rendered", "reused", "failed", "withdrawn"],
        ref: ObjectRef | None = None,
        error: str = "",
        given_lost: bool = False,
    ) -> list[Action]:
        work.stage = "reporting"
        event = work.report(self._pool, self._worker_id, status, ref, error, given_lost)
        return [act.Release(work.ticket), act.Report(work.ticket, event)]

    # ---- device ----------------------------------------------------------------------------------------------------

    def device_ready(self, generation: int, now_s: float) -> list[Action]:
        """The device process takes work."""
        if not self._device.is_current(generation):
            return []
        self._device.state, self._device.failed_starts = "up", 0
        self._device.loading = tuple(self._entries)[:WARM_MODELS]
        return [*(act.LoadModel(name) for name in self._device.loading), *self._advance(now_s)]

    def device_models(self, generation: int, models: tuple[str, ...], load_s: float, now_s: float) -> list[Action]:
        """These models are warm in it now, the last one for load_s seconds of loading."""
        if self._device.is_current(generation):
            self._device.models = models
            self._device.loads[models[-1]] = load_s
            self._device.beat(now_s)
        return []

    def device_step(self, batch: int, step: int, steps: int, now_s: float) -> list[Action]:
        """The running batch has done a step."""
        if (running := self._device.running(batch)) is None:
            return []
        running.stepped(step, steps, now_s)
        return self._advance(now_s)

    def device_done(self, batch: int, device_s: float, now_s: float, left_out: Sequence[str] = ()) -> list[Action]:
        """The running batch is rendered, its frames are in the files that `Send` named.

        left_out: files of those that were withdrawn before it began
        """
        works, out = self._spend(batch, device_s, now_s, left_out)
        for work in works:
            if work.withdrawn:
                out += self._report(work, "withdrawn")
            else:
                work.stage, work.store_tries, work.not_before_s = "storing", 0, 0.0
                out.append(act.StoreFrames(work.ticket, work.task, work.frames))
        return [*out, *self._advance(now_s)]

    def device_stopped(self, batch: int, device_s: float, now_s: float) -> list[Action]:
        """The running batch was not finished, or not begun, because nobody wants any of it."""
        works, out = self._spend(batch, device_s, now_s)
        for work in works:
            out += self._report(work, "withdrawn")
        return [*out, *self._advance(now_s)]

    def _spend(
        self, batch: int, device_s: float, now_s: float, left_out: Sequence[str] = ()
    ) -> tuple[list[Work], list[Action]]:
        """The running batch is over: what it took is shared by its chunks. Returns them."""
        if (running := self._device.running(batch)) is None:
            return [], []
        self._device.finish_running(now_s)
        works = [self._works[ticket] for ticket in running.tickets]
        paying = [work for work in works if work.frames not in left_out]
        for work in paying:
            work.device_s += device_s / len(paying)
        return works, [act.Release(ticket) for ticket in running.lost]

    def device_refused(self, batch: int, error: str, now_s: float, *, final: bool) -> list[Action]:
        """The running batch failed and the device process goes on. final: trying a chunk again cannot help it."""
        if (running := self._device.running(batch)) is None:
            return []
        self._device.finish_running(now_s)
        return [*self._failed(running, error, final=final, down=False), *self._advance(now_s)]

    def device_died(self, generation: int, reason: str, now_s: float) -> list[Action]:
        """The device process is gone, or says that it cannot go on (a lost CUDA context)."""
        return self._down(reason, now_s) if self._device.is_current(generation) else []

    def tick(self, now_s: float) -> list[Action]:
        """Time passes: replace a device that hangs, try again what was put off."""
        reason = self._device.overdue(now_s)
        return [*(self._down(reason, now_s) if reason else []), *self._advance(now_s)]

    def _down(self, reason: str, now_s: float) -> list[Action]:
        """The running batch pays with an attempt, the waiting one goes back unharmed, a new process starts."""
        lost = self._device.lost()
        out: list[Action] = [act.KillDevice(reason), *(act.Release(t) for batch in lost for t in batch.lost)]
        for ticket in [t for batch in lost[1:] for t in batch.tickets]:
            out += self._again(self._works[ticket])
        if lost:
            out += self._failed(lost[0], reason, final=False, down=True)
        if (deaths := self._device.failed_starts) >= MAX_FAILED_STARTS:
            return [*out, act.Stop(f"the device process died {deaths} times before it was ready: {reason}")]
        if not self.stopping:
            out += self.start(now_s)
        return out

    def _failed(self, batch: Batch, error: str, *, final: bool, down: bool) -> list[Action]:
        """down: it took the device down, which always counts as an attempt. Another error of a batch of several does
        not (it was too large for the device's memory, or one of them is at fault): each is tried alone."""
        out: list[Action] = []
        several = len(batch.tickets) > 1
        for work in [self._works[t] for t in batch.tickets]:
            work.attempts += 1 if down or not several else 0
            work.alone = True
            if work.withdrawn:
                out += self._report(work, "withdrawn")
            elif (final and not several) or work.attempts >= MAX_ATTEMPTS:
                tries = f" (tried {work.attempts} times)" if work.attempts > 1 else ""
                out += self._report(work, "failed", error=error + tries)
            else:
                out += self._again(work)
        return out

    def _again(self, work: Work) -> list[Action]:
        if self.stopping or not work.owned:
            return self._drop(work)
        work.stage = "ready"
        return []

    # ---- going on --------------------------------------------------------------------------------------------------

    def _advance(self, now_s: float) -> list[Action]:
        out = self._store_again(now_s)
        if not self.stopping:
            out += self._prepare(now_s)
            out += self._fill_inbox(now_s)
        return out

    def _store_again(self, now_s: float) -> list[Action]:
        out: list[Action] = []
        for work in self._works.values():
            if work.stage == "storing" and 0 < work.not_before_s <= now_s:
                work.not_before_s = 0.0
                out.append(act.StoreFrames(work.ticket, work.task, work.frames))
        return out

    def _prepare(self, now_s: float) -> list[Action]:
        out: list[Action] = []
        for work in to_prepare(self._works.values(), self.capacity, now_s):
            if work.task.spec.model in self._entries:
                work.stage = "preparing"
                out.append(act.Prepare(work.ticket, work.task))
            else:
                error = f"model {work.task.spec.model!r} is not in the registry of pool {self._pool}"
                out += self._report(work, "failed", error=error)
        return out

    def _fill_inbox(self, now_s: float) -> list[Action]:
        """The waiting batch is closed only when the running one is nearly done: tasks that arrive meanwhile can still
        join it, or go first."""
        out: list[Action] = []
        batches = self._device.batches
        while self._device.has_room():
            group = to_send(self._works.values(), self._entries)
            storing = sum(w.stage == "storing" for w in self._works.values())
            if not group or storing >= self.capacity or (batches and not batches[0].nearly_done()):
                break
            out.append(self._send(group, now_s))
        return out

    def _send(self, group: Sequence[Work], now_s: float) -> Action:
        number = self._next_batch
        self._next_batch += 1
        for work in group:
            work.stage, work.frames = "device", f"{work.ticket}.{work.attempts}.rgb"
        tickets = tuple(w.ticket for w in group)
        self._device.batches.append(Batch(number, tickets, group[0].task.spec.model, now_s))
        items = tuple(act.Item(w.task.spec, w.given, w.frames) for w in group)
        return act.Send(number, items)
