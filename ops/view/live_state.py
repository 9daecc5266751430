"""What is known of jobs, workers and webhooks, folded from records as they arrive. No I/O, no clock."""

from collections.abc import Container
from dataclasses import dataclass

import msgspec

from schemas.events import JobState, WebhookDelivery
from schemas.work import Switch, WorkerState

WORKER_SILENT_MS = 5_000
"""A worker reports at least every second; one that was silent for so long is taken for gone."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What there is to show at one moment."""

    jobs: tuple[JobState, ...]
    """In the order in which they were first seen."""
    workers: tuple[WorkerState, ...]
    deliveries: tuple[WebhookDelivery, ...]
    """The last try of each webhook."""
    now_ms: int
    tenant: str = "default"
    """The tenant that goes without saying in names."""
    switches: tuple[Switch, ...] = ()
    """What operators have paused or drained."""


class LiveState:
    """Folds records; an older or repeated one changes nothing."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobState] = {}
        self._workers: dict[str, WorkerState] = {}
        self._deliveries: dict[str, WebhookDelivery] = {}
        self._switches: dict[str, Switch] = {}

    def apply(self, key: str, record: msgspec.Struct | None) -> JobState | None:
        """Take one record of jobs.state, workers.state, scheduler.switches or notify.log. Returns the job's state when
        it is new."""
        match record:
            case None:
                self.jobs.pop(key, None)
                self._switches.pop(key, None)
            case JobState():
                before = self.jobs.get(record.job)
                if before is None or record.sequence > before.sequence:
                    self.jobs[record.job] = record
                    return record
            case WorkerState():
                known = self._workers.get(record.worker_id)
                if known is None or record.at_ms >= known.at_ms:
                    self._workers[record.worker_id] = record
            case Switch():
                self._switches[key] = record
            case WebhookDelivery():
                last = self._deliveries.get(record.id)
                if last is None or record.attempt >= last.attempt:
                    self._deliveries[record.id] = record
        return None

    def warm(self) -> bool:
        """Whether a worker has a model loaded."""
        return any(worker.models and not worker.leaving for worker in self._workers.values())

    def snapshot(self, now_ms: int, only: Container[str] | None = None, tenant: str = "default") -> Snapshot:
        """What to show at `now_ms`; `only` limits it to some job keys."""
        alive = (w for w in self._workers.values() if not w.leaving and now_ms - w.at_ms <= WORKER_SILENT_MS)
        return Snapshot(
            jobs=tuple(job for job in self.jobs.values() if only is None or job.job in only),
            workers=tuple(sorted(alive, key=lambda worker: (worker.pool, worker.worker_id))),
            deliveries=tuple(d for d in self._deliveries.values() if only is None or d.job in only),
            now_ms=now_ms,
            tenant=tenant,
            switches=tuple(s for _, s in sorted(self._switches.items()) if s.state == "off"),
        )
