"""From a kill to the next commit: read from the broker's own record of commits, __consumer_offsets."""

import struct
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ops.settings import Settings
from schemas.topics import LIVE_TOPICS, PLANS_PARKED
from tests.e2e.reading import read_topics

OFFSETS_TOPIC = "__consumer_offsets"
Place = tuple[str, str, int]
"""Group, topic, partition."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A group's offset in a partition, and when (wall clock, s) the broker took it."""

    place: Place
    offset: int
    at_s: float


def commits(settings: Settings) -> list[Commit]:
    """Every commit of this prefix's groups, in order of time. Format: OffsetCommitKey/Value of Apache Kafka."""
    written = (r for r in read_topics(settings, [OFFSETS_TOPIC]) if r.value is not None)
    found = (_parse(record.key or b"", record.value or b"", record.timestamp_ms / 1000) for record in written)
    ours = (commit for commit in found if commit is not None and commit.place[0].startswith(f"{settings.prefix}."))
    return sorted(ours, key=lambda commit: commit.at_s)


def _parse(key: bytes, value: bytes, at_s: float) -> Commit | None:
    (version,) = struct.unpack_from(">h", key)
    if version > 1:
        return None  # a group's metadata
    group, at = _string(key, 2)
    topic, at = _string(key, at)
    (partition,) = struct.unpack_from(">i", key, at)
    (offset,) = struct.unpack_from(">q", value, 2)
    return Commit((group, topic, partition), offset, at_s)


def _string(raw: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">h", raw, at)
    return raw[at + 2 : at + 2 + length].decode(), at + 2 + length


def arrivals(settings: Settings) -> dict[tuple[str, int], list[float]]:
    """When every record came (s), by topic and partition, indexed by its offset (markers and holes: the next one's)."""
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for record in read_topics(settings, [t.name(settings.prefix) for t in LIVE_TOPICS]):
        times = found[record.topic, record.partition]
        times += [record.timestamp_ms / 1000] * (record.offset + 1 - len(times))
    return found


@dataclass(frozen=True, slots=True, order=True)
class Recovery:
    """seconds: from the kill of a process to the next commit on a partition of its stage."""

    seconds: float
    at_s: float
    process: str
    topic: str
    partition: int


def recoveries(
    kills: Sequence[tuple[float, str]],
    history: Sequence[Commit],
    came: dict[tuple[str, int], list[float]],
    outages: Sequence[tuple[float, float]] = (),
) -> list[Recovery]:
    """Of each kill, for every partition of the killed stage that had work at that moment. Retry topics and parked plans
    are left out: there a record waits because it is meant to, up to ten minutes or until the scheduler has room.

    kills:   moment and process ("render-2")
    outages: times when the broker was down; a kill whose recovery falls into one is left out, it measures the broker

    A stage that is killed again before it had recovered counts from its last kill.
    """
    by_stage: dict[str, dict[Place, list[Commit]]] = defaultdict(lambda: defaultdict(list))
    for commit in history:
        by_stage[commit.place[0].split(".")[1]][commit.place].append(commit)
    measured = []
    for at_s, process in kills:
        stage = process.partition("-")[0]
        again_s = min((s for s, p in kills if s > at_s and p.partition("-")[0] == stage), default=float("inf"))
        for (_, topic, partition), line in by_stage[stage].items():
            before = max((c.offset for c in line if c.at_s <= at_s), default=0)
            if ".retry." in topic or f".{PLANS_PARKED.entity}." in topic:
                continue
            times = came.get((topic, partition), [])
            if before >= len(times) or times[before] > at_s:
                continue  # nothing to do at that moment
            after = next((c.at_s for c in line if c.at_s > at_s and c.offset > before), None)
            if after is None or after > again_s:
                continue  # killed again before it had recovered: counts from there
            if not any(began < after and ended > at_s for began, ended in outages):
                measured.append(Recovery(round(after - at_s, 2), at_s, process, topic, partition))
    return measured


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of all lie (nearest rank); 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
