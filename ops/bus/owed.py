"""Commits that the broker refused while the partition stayed ours. Pure: time comes in.

In a cooperative rebalance the partitions that a member keeps are not revoked, but a commit that falls into it is
refused. The next record's commit makes up for that; where no record follows, this does. Otherwise the group looks as if
it had work for ever, and its next owner does it again.
"""

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

AGAIN_S = 1.0
Where = TypeVar("Where")


class Owed(Generic[Where]):
    """Offsets to commit again, by partition."""

    def __init__(self) -> None:
        self._offsets: dict[Where, int] = {}
        self._not_before_s = 0.0

    def refused(self, place: Where, offset: int, now_s: float) -> None:
        """A commit was refused. What is owed already may be later."""
        self._offsets[place] = max(offset, self._offsets.get(place, 0))
        self._not_before_s = now_s + AGAIN_S

    def sent(self, place: Where, offset: int) -> None:
        """A later commit is on its way: if it is refused too, it is what is owed; the earlier one never again."""
        if place in self._offsets:
            self._offsets[place] = max(offset, self._offsets[place])

    def made(self, place: Where, offset: int) -> None:
        """A commit went through."""
        if self._offsets.get(place, offset + 1) <= offset:
            del self._offsets[place]

    def gone(self, places: Iterable[Where]) -> None:
        """These partitions are somebody else's now."""
        for place in places:
            self._offsets.pop(place, None)

    def due(self, now_s: float) -> Mapping[Where, int]:
        """What to commit now; it stays owed until it went through."""
        if not self._offsets or now_s < self._not_before_s:
            return {}
        self._not_before_s = now_s + AGAIN_S
        return dict(self._offsets)
