"""The topics that a record goes through which fails while others get through. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ops.bus import dead_letter
from schemas.records import Headers, Incoming
from schemas.retries import due_at_ms, retry_headers
from schemas.topics import RETRY_DELAYS, Topic


@dataclass(frozen=True, slots=True)
class Step:
    """attempt: number of the try that is made from this topic; 2 for the first retry."""

    topic: Topic
    delay_ms: int
    attempt: int


class RetrySteps:
    """topics: those of the stage; retry: by delay (RETRY_DELAYS), for the only one of them, or none."""

    def __init__(self, prefix: str, topics: Sequence[Topic], retry: Mapping[str, Topic]) -> None:
        if retry and len(topics) != 1:
            raise ValueError("retry topics belong to one topic")
        delays = [(retry[name], delay_ms) for name, delay_ms in RETRY_DELAYS.items() if retry]
        self._steps = tuple(Step(topic, delay_ms, n) for n, (topic, delay_ms) in enumerate(delays, 2))
        self._reached = {step.topic.name(prefix): n for n, step in enumerate(self._steps, 1)}
        self.names: dict[str, Topic] = {t.name(prefix): t for t in (*topics, *retry.values())}
        """Every topic to read, by full name."""

    def __bool__(self) -> bool:
        return bool(self._steps)

    def moved(self, record: Incoming) -> bool:
        """Whether the record was moved aside before."""
        return record.topic in self._reached

    def origin(self, record: Incoming) -> Topic:
        """The topic where the record was read first: it becomes a dead letter of that. One that nobody moved to a retry
        topic was read there first."""
        moved_from = dead_letter.origin_topic(record.headers) if self.moved(record) else record.topic
        return self.names.get(moved_from, self.names[record.topic])

    def due_ms(self, record: Incoming) -> int:
        """Moment before which the record must wait, ms since the epoch."""
        return due_at_ms(dict(record.headers)) if self.moved(record) else 0

    def after(self, record: Incoming) -> Step | None:
        """Where a record goes next; None after the last step."""
        position = self._reached.get(record.topic, 0)
        return self._steps[position] if position < len(self._steps) else None

    def headers(self, record: Incoming, step: Step, group: str, stage: str, error: Exception, now_ms: int) -> Headers:
        """Headers of the record in its retry topic: its own, where it was read first and what was wrong, try, due."""
        made = dead_letter.headers(record, group, stage, error, now_ms, moved=self.moved(record))
        return (*dead_letter.without_retry(made), *retry_headers(step.attempt, now_ms + step.delay_ms))
