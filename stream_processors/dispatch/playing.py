"""Plays the scheduler's own order forward on its workers as they are, chunk by chunk: when is each job rendered? Pure.

Lanes by deficit round robin, tenants and accounts by virtual time, jobs by their order, a worker with room that is
free first; express chunks that go to a worker beyond what it wants; chains one chunk after the other; no more chunks of
a tenant at a time than its quota lets. Beside the jobs that are here it plays those that are to be expected. Turns by
age, warm models and shared forward passes are not played.

What lies far ahead is played in larger pieces: several chunks of a job as one. So a play ends after a few thousand
steps, whatever waits.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from heapq import heappop, heappush
from itertools import count
from types import MappingProxyType

from schemas.request import LANES, Lane
from stream_processors.dispatch.choice import AHEAD
from stream_processors.dispatch.fairness import LaneShares
from stream_processors.dispatch.job import Order
from stream_processors.dispatch.playing_line import Sharing
from stream_processors.dispatch.playing_parts import Hand, Item, Piece, Played, Stream

FINE = 600
"""Steps in which every chunk is played by itself; then pieces double every COARSER steps."""
COARSER = 300
MOST = 6_000
_RANK = {lane: rank for rank, lane in enumerate(LANES)}


class Play:
    """shares: of the lanes as they are now; is not changed. most_out: chunks that a tenant may have out, of those that
    have a bound."""

    def __init__(
        self,
        shares: LaneShares,
        lanes: Mapping[Lane, Sharing],
        hands: Sequence[Hand],
        most_out: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._shares, self._lanes, self._hands = deepcopy(shares), lanes, hands
        self._most_out, self._out = most_out, Counter[str]()
        self._now_s = 0.0
        self._numbers = count()
        self._steps = 0
        self._events: list[tuple[float, int, Piece | Stream | Hand]] = []
        """Heap of (time, number, what)."""
        self._room: list[tuple[float, int, Hand]] = []
        """Heap of workers with room by when they are free; may be out of date."""
        self._finish_s: dict[str, float] = {}
        self._last: dict[Lane, list[str]] = {lane: [] for lane in lanes}
        self._open: dict[str, Item] = {}
        """Those that are here and not rendered."""
        self._served_s: dict[Lane, float] = dict.fromkeys(lanes, 0.0)

    def add(self, items: Iterable[Item]) -> None:
        """Jobs that are here now."""
        for item in items:
            if item.left > 0:
                self._open[item.key] = item
            self._put(item)

    def expect(self, streams: Iterable[Stream]) -> None:
        """Jobs that will come, spread over the first gap so that not all come at once."""
        for number, stream in enumerate(streams, 1):
            heappush(self._events, (stream.gap_s * (number * 0.618034 % 1), next(self._numbers), stream))

    def run(self, loose: Iterable[Piece]) -> Played:
        """Play until all jobs that are here are rendered. loose: pieces that are out and with nobody here."""
        for piece in loose:
            self._went(piece)
            heappush(self._events, (piece.takes_s, next(self._numbers), piece))
        for hand in self._hands:
            for piece in hand.held:
                self._went(piece)
                self._give(hand, piece, first=True)
            self._offer(hand)
        self._hand_out()
        while self._open and self._events and self._steps < MOST:
            self._steps += 1
            self._now_s, _, what = heappop(self._events)
            if isinstance(what, Stream):
                self._arrive(what)
            elif isinstance(what, Hand):
                self._done(what)
            else:
                self._came_back(what)
            self._hand_out()
        self._beyond()
        positions = {key: n for keys in self._last.values() for n, key in enumerate(keys)}
        return Played(self._finish_s, positions, self._steps)

    @property
    def _grain(self) -> int:
        """Chunks of a piece by now."""
        return 1 if self._steps < FINE else 1 << min(20, 1 + (self._steps - FINE) // COARSER)

    # ---- jobs ------------------------------------------------------------------------------------------------------

    def _put(self, item: Item) -> None:
        if item.ready and not item.queued:
            item.queued = True
            self._lanes[item.lane].put(item)

    def _arrive(self, stream: Stream) -> None:
        grain = self._grain
        order: Order = (float("inf"), 0, True, 1 << 62, "")
        chunks = stream.chunks * grain
        chains = [stream.chain * grain] * max(1, round(stream.chunks / stream.chain))
        self._lanes[stream.lane].weigh(stream.tenant, "", stream.weight, 1.0)
        self._put(Item("", stream.lane, stream.tenant, "", order, stream.cost_s, chains, chunks, chunks, real=False))
        heappush(self._events, (self._now_s + stream.gap_s * grain, next(self._numbers), stream))

    def _came_back(self, piece: Piece) -> None:
        item = piece.item
        if item is None:
            return
        if item.tenant in self._most_out:
            self._landed(item.tenant)
        item.left -= piece.chunks
        if piece.rest:
            item.ready.append(piece.rest)
            self._put(item)
        self._served_s[item.lane] += piece.chunks * item.cost_s
        if item.left <= 0 and self._open.pop(item.key, None) is not None:
            self._finish_s[item.key] = self._now_s

    def _went(self, piece: Piece) -> None:
        """A piece is out."""
        tenant = piece.item.tenant if piece.item is not None else ""
        if tenant in self._most_out:
            self._out[tenant] += 1
            if self._out[tenant] >= self._most_out[tenant]:
                for lane in self._lanes.values():
                    lane.hold(tenant)

    def _landed(self, tenant: str) -> None:
        self._out[tenant] -= 1
        if self._out[tenant] < self._most_out[tenant]:
            for lane in self._lanes.values():
                lane.let_go(tenant)

    def _beyond(self) -> None:
        """What the play did not come to: its lane goes on as it went, in the order of its jobs."""
        for lane, served_s in self._served_s.items():
            rate, ahead_s = max(1e-6, served_s / max(1e-3, self._now_s)), 0.0
            rest = [item for item in self._open.values() if item.lane == lane]
            for item in sorted(rest, key=lambda item: item.order):
                ahead_s += item.left * item.cost_s
                self._finish_s[item.key] = self._now_s + ahead_s / rate
                if item.real and item.waiting:
                    self._last[lane].append(item.key)

    # ---- workers ---------------------------------------------------------------------------------------------------

    def _give(self, hand: Hand, piece: Piece, first: bool = False) -> None:
        rank = _RANK[piece.item.lane] if piece.item is not None else 1
        heappush(hand.waiting, (-1 if first and hand.running is None else rank, next(self._numbers), piece))
        hand.free_s = max(hand.free_s, self._now_s) + piece.takes_s
        self._begin(hand)

    def _begin(self, hand: Hand) -> None:
        if hand.running is None and hand.waiting:
            hand.running = heappop(hand.waiting)[2]
            hand.ends_s = self._now_s + hand.running.takes_s
            heappush(self._events, (hand.ends_s, next(self._numbers), hand))

    def _done(self, hand: Hand) -> None:
        piece, hand.running = hand.running, None
        assert piece is not None
        self._begin(hand)
        self._came_back(piece)
        self._offer(hand)

    def _offer(self, hand: Hand) -> None:
        if not hand.offered and hand.load < hand.capacity:
            hand.offered = True
            heappush(self._room, (max(self._now_s, hand.free_s), next(self._numbers), hand))

    def _idle(self) -> Hand | None:
        while self._room:
            free_s, _, hand = heappop(self._room)
            hand.offered = False
            if hand.load < hand.capacity:
                if max(self._now_s, hand.free_s) <= max(self._now_s, free_s):
                    return hand
                self._offer(hand)
        return None

    def _hand_out(self) -> None:
        while (hand := self._idle()) is not None:
            heads = {lane: head for lane, line in self._lanes.items() if (head := line.head()) is not None}
            if not heads:
                self._offer(hand)
                return
            lane = self._shares.pick({lane: head.cost_s for lane, head in heads.items()})
            self._serve(heads[lane], hand)
            self._offer(hand)
        while (item := self._lanes["express"].head() if "express" in self._lanes else None) is not None:
            if self._shares.credit_s("express") + AHEAD * item.cost_s < 0:
                return
            full = [hand for hand in self._hands if hand.load == hand.capacity]
            if not full:
                return
            self._serve(item, min(full, key=lambda hand: hand.ends_s))

    def _serve(self, item: Item, hand: Hand) -> None:
        chunks, rest = item.take(self._grain)
        cost_s = chunks * item.cost_s
        self._shares.charge(item.lane, cost_s)
        self._lanes[item.lane].served(item, cost_s)
        if item.real and item.waiting == 0:
            self._last[item.lane].append(item.key)
        piece = Piece(item, chunks, rest, cost_s * hand.slowness)
        self._went(piece)
        self._give(hand, piece)
