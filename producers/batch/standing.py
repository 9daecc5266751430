"""Where the jobs of batches stand, from jobs.state. About 300 bytes of memory a job."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from ops.settings import Settings
from producers.batch.progress import Checkpoint
from producers.client.reader import TopicReader
from schemas.events import JobState
from schemas.lifecycle import TERMINAL
from schemas.request import JobRequest
from schemas.topics import JOBS_REQUESTED, JOBS_STATE

POLL_S = 0.25


class Standing(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a job's newest state."""

    batch_id: str
    state: str
    sequence: int
    device_s: float
    requested_at_ms: int
    updated_at_ms: int

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in TERMINAL


def states(settings: Settings) -> Iterator[JobState]:
    """All that jobs.state holds at the moment, oldest first; several of one job."""
    with TopicReader(settings, [JOBS_STATE]) as reader:
        while not reader.caught_up:
            for entry in reader.poll(POLL_S):
                if isinstance(entry.record, JobState):
                    yield entry.record


def newest(found: Iterable[JobState], batch_id: str = "") -> dict[str, Standing]:
    """The newest of every job, or of every job of one batch; by job key. Pure."""
    known: dict[str, Standing] = {}
    for state in found:
        if not state.batch_id or (batch_id and state.batch_id != batch_id):
            continue
        before = known.get(state.job)
        if before is None or state.sequence >= before.sequence:
            known[state.job] = Standing(
                state.batch_id, state.state, state.sequence, state.progress.device_s if state.progress else 0.0,
                state.requested_at_ms, state.updated_at_ms,
            )  # fmt: skip
    return known


def whole(settings: Settings, known: dict[str, Standing]) -> Iterator[JobState]:
    """The states themselves, each job once: read again, so that they need not all be in memory."""
    left = {job: standing.sequence for job, standing in known.items()}
    for state in states(settings):
        # A newer one may be there by now, and the one that was seen may be compacted away.
        if state.job in left and state.sequence >= left[state.job]:
            del left[state.job]
            yield state


def requested(settings: Settings, batch_id: str, besides: Container[str]) -> Iterator[str]:
    """Jobs of a batch on the request topics and not among `besides`: moderate may not have read them yet."""
    with TopicReader(settings, list(JOBS_REQUESTED.values())) as reader:
        while not reader.caught_up:
            for entry in reader.poll(POLL_S):
                request = entry.record
                if isinstance(request, JobRequest) and request.batch_id == batch_id:
                    job = f"{request.tenant}/{request.job_id}"
                    if job not in besides:
                        yield job


@dataclass(slots=True)
class Summary:
    """A batch in numbers, as far as the pipeline knows of it.

    sending: its checkpoint, when it was sent from this machine
    """

    batch_id: str
    states: Counter[str]
    device_s: float = 0.0
    first_requested_at_ms: int = 0
    last_updated_at_ms: int = 0
    sending: Checkpoint | None = None

    @property
    def total(self) -> int:
        """Jobs that were accepted or rejected so far."""
        return self.states.total()

    @property
    def unfinished(self) -> int:
        """Jobs that go on."""
        return sum(count for state, count in self.states.items() if state not in TERMINAL)

    @property
    def status(self) -> str:
        """sending: rows are left; in_progress: jobs are left; finished."""
        if self.sending is not None and not self.sending.complete:
            return "sending"
        return "in_progress" if self.unfinished else "finished"

    def plain(self) -> dict[str, Any]:
        """As JSON data. `sent` and `refused` are null for a batch that was sent from elsewhere."""
        sent, refused = (self.sending.sent, self.sending.refused) if self.sending else (None, None)
        return {
            "batch_id": self.batch_id, "status": self.status, "sent": sent, "refused": refused,
            "total": self.total, "unfinished": self.unfinished, "states": dict(self.states),
            "device_s": round(self.device_s, 3), "first_requested_at_ms": self.first_requested_at_ms,
            "last_updated_at_ms": self.last_updated_at_ms,
        }  # fmt: skip


def summaries(known: Iterable[Standing]) -> dict[str, Summary]:
    """Batches by id, in the order of their first request. Pure."""
    found: dict[str, Summary] = {}
    for job in known:
        batch = found.setdefault(job.batch_id, Summary(job.batch_id, Counter()))
        batch.states[job.state] += 1
        batch.device_s += job.device_s
        first = batch.first_requested_at_ms or job.requested_at_ms
        batch.first_requested_at_ms = min(first, job.requested_at_ms)
        batch.last_updated_at_ms = max(batch.last_updated_at_ms, job.updated_at_ms)
    return dict(sorted(found.items(), key=lambda item: item[1].first_requested_at_ms))
