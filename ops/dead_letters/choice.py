"""Which letters are meant: places, filters, moments as a person types them. Pure."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from ops.dead_letters.letter import Letter, whole
from schemas.errors import Fatal
from schemas.topics import LIVE_TOPICS, DeadLetters, Topic

_SPAN = re.compile(r"([0-9]{1,6})(s|m|h|d)")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
TOPICS: tuple[Topic, ...] = tuple(topic for topic in LIVE_TOPICS if topic.record is not None)
"""Topics that have dead letters, and so the only ones that a letter can be sent to again."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Empty means any. since_ms: written to the dead letters at or after this moment."""

    stage: str = ""
    code: str = ""
    since_ms: int = 0

    def match(self, letter: Letter) -> bool:
        same = self.stage in ("", letter.stage) and self.code in ("", letter.code)
        return same and letter.record.timestamp_ms >= self.since_ms


@dataclass(frozen=True, slots=True)
class Place:
    """Where a letter lies."""

    of: Topic
    partition: int
    offset: int


def topic_named(text: str, prefix: str) -> Topic:
    """The topic that a person means: its full name, that of its dead letters, or jobs.events without prefix and
    version. Raises Fatal."""
    for topic in TOPICS:
        if text in (topic.entity, topic.name(prefix), DeadLetters(topic).name(prefix)):
            return topic
    raise Fatal(f"{text!r} is no topic of prefix {prefix!r} that has dead letters; jobs.events is one, for example")


def place_named(text: str, prefix: str) -> Place:
    """TOPIC:PARTITION:OFFSET as a letter. Raises Fatal."""
    topic, _, rest = text.partition(":")
    partition, _, offset = rest.partition(":")
    if whole(partition) < 0 or whole(offset) < 0:
        raise Fatal(f"{text!r} names no dead letter; expected TOPIC:PARTITION:OFFSET as `reelbus dlq list` prints it")
    return Place(topic_named(topic, prefix), int(partition), int(offset))


def moment(text: str, now_ms: int) -> int:
    """30m, 2h, 7d ago, or an ISO 8601 moment (UTC unless it says otherwise), as ms since the epoch. Raises Fatal."""
    if found := _SPAN.fullmatch(text):
        return now_ms - int(found[1]) * _UNIT_MS[found[2]]
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Fatal(f"{text!r} is no moment; expected 30m, 2h, 7d, or 2026-11-25T18:00") from None
    return int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Count:
    """Letters of one topic that died of one reason."""

    topic: str
    stage: str
    code: str
    letters: int
    replayed: int


def counts(letters: Iterable[Letter], prefix: str) -> list[Count]:
    """By topic, stage and code, most letters first."""
    total: Counter[tuple[str, str, str]] = Counter()
    replayed: Counter[tuple[str, str, str]] = Counter()
    for letter in letters:
        reason = (letter.of.name(prefix), letter.stage, letter.code)
        total[reason] += 1
        replayed[reason] += bool(letter.replays)
    ordered = sorted(total, key=lambda reason: (-total[reason], reason))
    return [Count(*reason, total[reason], replayed[reason]) for reason in ordered]


def newest_first(letters: Iterable[Letter]) -> list[Letter]:
    """By the moment they were written."""
    return sorted(letters, key=lambda one: (one.record.timestamp_ms, one.record.offset), reverse=True)
