"""The parent's picture of the device process: is it up, what is in its inbox, does it hang. Pure."""

from dataclasses import dataclass, field
from typing import Literal

START_TIMEOUT_S = 120.0
LOAD_FACTOR = 3
"""Step time-outs that a batch may take before its first step when its model must be loaded first."""
INBOX_BATCHES = 2
"""One running and one waiting, so that the device never waits for the parent."""
LEAD_S = 0.25
"""The waiting batch is handed over when the running one has at most this much of its steps to go, or one step. Not
sooner: until then it can take in company, and an express chunk can go first."""


@dataclass(slots=True)
class Batch:
    number: int
    tickets: tuple[int, ...]
    """Of its chunks. A batch that waits loses those that are withdrawn, and may have none left: the process then passes
    it over, and says so."""
    model: str
    beat_s: float
    step: int = 0
    steps: int = 0
    step_s: float = 0.0
    """What the last step took."""
    lost: tuple[int, ...] = ()
    """Tickets that it lost: the process may have begun it before it heard, and write their frames."""

    def lose(self, ticket: int) -> None:
        self.tickets = tuple(other for other in self.tickets if other != ticket)
        self.lost = (*self.lost, ticket)

    def stepped(self, step: int, steps: int, now_s: float) -> None:
        """It has done a step."""
        if self.step:  # the first one may hold the loading of its model
            self.step_s = (now_s - self.beat_s) / max(1, step - self.step)
        self.step, self.steps, self.beat_s = step, steps, now_s

    def nearly_done(self) -> bool:
        left = self.steps - self.step
        return self.step > 0 and (left <= 1 or (self.step_s > 0 and left * self.step_s <= LEAD_S))


@dataclass(slots=True)
class Device:
    """step_timeout_s: longest time between two beats."""

    step_timeout_s: float
    state: Literal["down", "starting", "up"] = "down"
    generation: int = 0
    """Grows with every start; what an older process said is ignored."""
    since_s: float = 0.0
    failed_starts: int = 0
    models: tuple[str, ...] = ()
    loads: dict[str, float] = field(default_factory=dict)
    """Seconds that loading a model took, the last time."""
    loading: tuple[str, ...] = ()
    """Models that it was told to load before its first batch."""
    batches: list[Batch] = field(default_factory=list)
    """The running one first."""

    def start(self, now_s: float) -> int:
        """Returns the generation of the new process."""
        self.state, self.since_s, self.generation = "starting", now_s, self.generation + 1
        return self.generation

    def is_current(self, generation: int) -> bool:
        return generation == self.generation and self.state != "down"

    def has_room(self) -> bool:
        return self.state == "up" and sum(bool(batch.tickets) for batch in self.batches) < INBOX_BATCHES

    def batch_of(self, ticket: int) -> Batch:
        """The batch that has this ticket."""
        return next(batch for batch in self.batches if ticket in batch.tickets)

    def running(self, number: int) -> Batch | None:
        """The running batch if it has this number; an answer of a process that was killed has another."""
        return self.batches[0] if self.batches and self.batches[0].number == number else None

    def beat(self, now_s: float) -> None:
        if self.batches:
            self.batches[0].beat_s = now_s

    def finish_running(self, now_s: float) -> None:
        """The running batch is over, the waiting one runs."""
        self.batches.pop(0)
        self.beat(now_s)

    def overdue(self, now_s: float) -> str:
        """Why the process must be killed, or an empty string."""
        if self.state == "starting" and now_s - self.since_s > START_TIMEOUT_S:
            return f"device process was not ready after {START_TIMEOUT_S:.0f} s"
        if self.batches:
            running = self.batches[0]
            # Before its first step a batch may wait for its own model, and for those that are loaded in advance.
            loaded = running.model in self.models and set(self.loading) <= set(self.models)
            patience_s = self.step_timeout_s * (1 if loaded or running.step else LOAD_FACTOR)
            if now_s - running.beat_s > patience_s:
                return f"the device hung: no denoise step within {patience_s:.1f} s"
        return ""

    def lost(self) -> list[Batch]:
        """The process is gone. Returns the batches that were in it."""
        if self.state == "starting":
            self.failed_starts += 1
        lost, self.batches, self.models, self.state = self.batches, [], (), "down"
        return lost
