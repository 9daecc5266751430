"""ops.bus.table: the last value of every key of a compacted topic, up to its end at the time of the call."""

from collections.abc import Generator, Sequence
from typing import Any

from tests.simulation.log import Log, Place
from tests.simulation.process import IDLE


def load(log: Log, places: Sequence[Place], *, patient: bool = True) -> Generator[str, None, dict[str, Any]]:
    """Waits for transactions that are open there, unless told otherwise (a seeded bug): their rows may be the last."""
    ends = {place: log.end(place) for place in places}
    while patient and any(log.stable_end(place) < end for place, end in ends.items()):
        yield IDLE
    return seen(log, places)


def seen(log: Log, places: Sequence[Place]) -> dict[str, Any]:
    """What a reader of committed records sees now."""
    table: dict[str, Any] = {}
    for place in places:
        offset = 0
        while True:
            offset, entry = log.next(place, offset, committed_only=True)
            if entry is None:
                break
            offset += 1
            if entry.value is None:
                table.pop(entry.key, None)
            else:
                table[entry.key] = entry.value
    return table
