"""What a sender may order of its jobs under way: the same for the client of a tenant and for an operator."""

from abc import ABC, abstractmethod
from typing import Any

from schemas.request import JobOrder, Lane


class Orders(ABC):
    """Every order raises InvalidMessage that names the field when it is wrong, and Transient when the broker did not
    take it. What comes of it is told by a reply: `steered`, or `order-refused` (`cancel-refused`) with the reason.
    """

    @abstractmethod
    def order(self, order: JobOrder) -> None:
        """Publish an order as it is."""

    @abstractmethod
    def named(self, job: str) -> tuple[str, str]:
        """Tenant and job id of a job by the name that is used here."""

    def cancel(self, job: str, reason: str = "") -> None:
        """Ask for a job to be cancelled; it stops at the next denoise step. A finished job stays as it is."""
        self._send(job, action="cancel", reason=reason)

    def hold(self, job: str, reason: str = "") -> None:
        """No further chunk until `resume`. What renders is finished; the deadline still counts."""
        self._send(job, action="hold", reason=reason)

    def resume(self, job: str) -> None:
        """A held job goes on where it was."""
        self._send(job, action="resume")

    def reprioritise(self, job: str, priority: int) -> None:
        """priority: -10..10, higher goes first among the tenant's jobs in the lane."""
        self._send(job, action="reprioritise", priority=priority)

    def move_lane(self, job: str, lane: Lane) -> None:
        """Serve it in another lane from its next chunk on."""
        self._send(job, action="move_lane", lane=lane)

    def change_deadline(self, job: str, deadline_ms: int | None) -> None:
        """deadline_ms: ms since the epoch, in the future; None takes the deadline away."""
        self._send(job, action="change_deadline", deadline_ms=deadline_ms)

    def _send(self, job: str, **parts: Any) -> None:
        tenant, job_id = self.named(job)
        self.order(JobOrder(tenant=tenant, job_id=job_id, **parts))
