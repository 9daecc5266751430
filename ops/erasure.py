"""Whose jobs are erased when a person asks for it. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.events import JobState
from schemas.topics import LIVE_TOPICS


@dataclass(frozen=True, slots=True)
class Subject:
    """What the jobs of a person have in common: all that is given must fit.

    metadata: names and values that the caller put there, e.g. {"user": "4711"}
    jobs:     job ids; none: any
    """

    tenant: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    batch_id: str = ""
    jobs: Sequence[str] = ()

    def fits(self, state: JobState) -> bool:
        """Is this a job of that person?"""
        tenant, _, job_id = state.job.partition("/")
        return (
            tenant == self.tenant
            and (not self.jobs or job_id in self.jobs)
            and (not self.batch_id or state.batch_id == self.batch_id)
            and all(state.metadata.get(name) == value for name, value in self.metadata.items())
        )


def jobs_of(subject: Subject, states: Iterable[JobState]) -> Iterator[JobState]:
    """Jobs that are still to be erased. states: the last of every job."""
    return (state for state in states if state.state != "deleted" and subject.fits(state))


def last_trace_ms(erased_at_ms: int) -> int:
    """When Kafka has deleted the last record that may name what was erased, as topics are created by default."""
    longest_ms = max(topic.retention_ms or 0 for topic in LIVE_TOPICS if topic.entity != "audit.trail")
    return erased_at_ms + longest_ms
