"""Consumer groups of the fake broker: membership, generations, cooperative and eager rebalances, fencing of commits."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.records import Incoming
from tests.simulation.log import Entry, Fenced, Log, Place

SESSION_MS = 10_000
Effects = Generator[str, None, Any]
"""A piece of a stage: yields the name of the effect that comes next."""
Assigned = Callable[[list[Place]], Effects]
Revoked = Callable[[list[Place]], None]


def no_effects(_places: list[Place]) -> Effects:
    yield from ()


@dataclass(eq=False)
class Group:
    name: str
    log: Log
    generation: int = 0
    members: list["Consumer"] = field(default_factory=list)
    target: dict[Place, "Consumer"] = field(default_factory=dict)
    owner: dict[Place, "Consumer"] = field(default_factory=dict)

    def join(self, member: "Consumer") -> None:
        self.members.append(member)
        self.rebalance()

    def leave(self, member: "Consumer") -> None:
        if member in self.members:
            self.members.remove(member)
            self.owner = {place: who for place, who in self.owner.items() if who is not member}
            self.rebalance()

    def rebalance(self, rotate: int = 0) -> None:
        """A new generation; places go round the members. `rotate` moves them to others, as a storm would."""
        self.generation += 1
        topics = dict.fromkeys(topic for member in self.members for topic in member.topics)
        places = [place for topic in topics for place in self.log.places(topic)]
        self.target = {}
        for index, place in enumerate(places):
            able = [m for m in self.members if place[0] in m.topics]
            if able:
                self.target[place] = able[(index + rotate) % len(able)]

    def check(self, member: "Consumer") -> None:
        """Raises Fenced for a member that was expelled or has not taken part in the last rebalance."""
        if member not in self.members or member.generation != self.generation:
            raise Fenced(f"{self.name}: generation {member.generation} of {self.generation}")

    def stable(self, place: Place) -> bool:
        return not self.log.pending(self.name, place)

    def committed(self, place: Place) -> int:
        return self.log.committed.get((self.name, place), 0)


class Consumer:
    """One member of a group, as librdkafka shows it to a stage.

    on_assign:  runs before the committed offsets of the places are asked for
    on_revoke:  also when they are lost
    eager:      gives up everything in each rebalance (Faust); the others are cooperative
    """

    def __init__(
        self,
        group: Group,
        topics: Sequence[str],
        *,
        on_assign: Assigned = no_effects,
        on_revoke: Revoked = lambda _places: None,
        committed_only: bool = True,
        eager: bool = False,
    ) -> None:
        self.group, self.log, self.topics = group, group.log, tuple(topics)
        self._on_assign, self._on_revoke = on_assign, on_revoke
        self._committed_only, self._eager = committed_only, eager
        self.generation = -1
        self.positions: dict[Place, int | None] = {}
        """None: the committed offset is not known yet."""
        self.paused: frozenset[str] = frozenset()
        self.turn = 0
        group.join(self)

    def settle(self) -> Effects:
        """Take part in the last rebalance, as far as others have given up what is to be ours."""
        group = self.group
        if self not in group.members:
            # The session ran out while we were away: everything is lost, and we come again as a new member.
            self._give_up(list(self.positions))
            group.join(self)
        if self.generation != group.generation:
            mine = [p for p in self.positions if self._eager or group.target.get(p) is not self]
            self._give_up(mine)
            self.generation = group.generation
        if len(self.positions) < len(group.target):
            gained = [p for p, who in group.target.items() if who is self and p not in group.owner]
            if gained:
                group.owner.update(dict.fromkeys(gained, self))
                yield "assigned"
                yield from self._on_assign(gained)
                self.positions.update(dict.fromkeys(gained))

    def _give_up(self, places: list[Place]) -> None:
        if not places:
            return
        self._on_revoke(places)
        for place in places:
            del self.positions[place]
            if self.group.owner.get(place) is self:
                del self.group.owner[place]

    def poll(self) -> Generator[str, None, Incoming | None]:
        """The next record, or None when there is none now. Serves rebalances."""
        yield from self.settle()
        return self.take()

    def take(self) -> Incoming | None:
        """The next record of what is assigned."""
        places = list(self.positions)
        for index in range(len(places)):
            place = places[(index + self.turn) % len(places)]
            if place[0] in self.paused or (offset := self._position(place)) is None:
                continue
            offset, entry = self.log.next(place, offset, committed_only=self._committed_only)
            self.positions[place] = offset if entry is None else offset + 1
            if entry is not None:
                self.turn += 1
                return record(place, offset, entry)
        return None

    def _position(self, place: Place) -> int | None:
        if self.positions[place] is None and self.group.stable(place):
            self.positions[place] = self.group.committed(place)
        return self.positions[place]

    def commit(self, offsets: Mapping[Place, int]) -> None:
        """Raises Fenced when the member is not of the last generation."""
        self.group.check(self)
        self.log.committed.update({(self.group.name, place): offset for place, offset in offsets.items()})

    def close(self) -> None:
        """Leave the group at once."""
        self._give_up(list(self.positions))
        self.group.leave(self)


def record(place: Place, offset: int, entry: Entry) -> Incoming:
    """The stages' view; `value` is the struct itself, not its bytes (tests/contracts prove the codec)."""
    return Incoming(place[0], place[1], offset, entry.key.encode(), entry.value, entry.headers, entry.timestamp_ms)
