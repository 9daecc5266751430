"""Queue positions and estimates of when a job is rendered: what waits, what is out and what is to come, played forward
(`playing`). Pure.

A play costs milliseconds, so there is one every few seconds, more rarely the longer it took; in between the clock runs
on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import NamedTuple

from schemas.request import Lane
from stream_processors.dispatch.backlog import line_of
from stream_processors.dispatch.choice import Queue
from stream_processors.dispatch.job import Job
from stream_processors.dispatch.playing import Play
from stream_processors.dispatch.playing_line import Sharing
from stream_processors.dispatch.playing_parts import Hand, Item, Piece, Played, Stream
from stream_processors.dispatch.worker import Held

STEPS_A_SECOND = 250
"""Steps of plays per second, over time: one takes some 25 us, so plays cost less than a hundredth of a core."""
LANDS_S = 0.1
"""What a chunk needs that is out and with nobody: it is on its way to or from a worker."""


class ParkedJobs(NamedTuple):
    """Jobs of a line that wait in Kafka."""

    line: str
    lane: Lane
    tenant: str
    account: str
    urgent: bool
    jobs: int


class Scene(NamedTuple):
    """All that a play of one pool begins with."""

    jobs: Sequence[Job]
    """Those that want chunks."""
    queue: Queue
    hands: Iterable[Held]
    """Workers that can be counted on."""
    streams: Iterable[Stream] = ()
    parked: Sequence[ParkedJobs] = ()
    most_out: Mapping[str, int] = MappingProxyType({})
    """Chunks that a tenant may have out at a time, of tenants that have such a bound."""


def play(scene: Scene) -> Played:
    """When each job is rendered, and where it stands. A job that is stopped is left out: nobody knows for how long.
    Without a worker the order is as with one, and nothing is said of when."""
    jobs = [job for job in scene.jobs if not job.stopped]
    items = {job.key: _Cut(job) for job in jobs}
    out = {chunk_id: (cut, rest) for cut in items.values() for chunk_id, rest in cut.out.items()}
    hands = [Hand(one.slowness, one.capacity, [_piece(out, *chunk) for chunk in one.chunks]) for one in scene.hands]
    loose = [Piece(cut.item, 1, rest, LANDS_S) for cut, rest in out.values()]
    lanes = {lane: _sharing(scene.queue, lane) for lane in scene.queue.lanes}
    for job in jobs:
        weights = job.weight, job.placement.account_weight
        lanes[job.lane].weigh(job.tenant, job.account, *weights)
    played = Play(scene.queue.shares, lanes, hands or [Hand(1.0, 1, ())], scene.most_out)
    played.add(cut.item for cut in items.values())
    played.add(_parked(lanes, jobs, scene.parked))
    played.expect(scene.streams)
    found = played.run(loose)
    return found if hands else found._replace(finish_s={})


class _Cut:
    """A job and what is out of it: chunk id -> chunks of the chain that follow it."""

    __slots__ = ("item", "out")

    def __init__(self, job: Job) -> None:
        chunks, spans = job.row.chunks, job.plan.chunks
        tails = [0] * len(chunks)
        ready: list[int] = []
        self.out: dict[str, int] = {}
        left = waiting = 0
        for index in range(len(chunks) - 1, -1, -1):
            state, after = chunks[index].state, spans[index].after
            left += state != "r"
            waits = state == "w"
            waiting += waits
            if waits and (after < 0 or chunks[after].state == "r"):
                ready.append(tails[index] + 1)
            elif after >= 0:
                tails[after] += tails[index] + waits
            if state == "d":
                self.out[job.ids[index]] = tails[index]
        self.item = Item(
            job.key, job.lane, job.tenant, job.account, job.order(), job.chunk_cost_s, ready, waiting, left
        )


def _piece(out: dict[str, tuple[_Cut, int]], chunk_id: str, takes_s: float) -> Piece:
    """A chunk that a worker has. Two may have the same one; it is rendered when the first of them has rendered it, as
    far as anybody can tell."""
    cut, rest = out.pop(chunk_id, (None, 0))
    return Piece(None if cut is None else cut.item, 1, rest, takes_s)


def _sharing(queue: Queue, lane: Lane) -> Sharing:
    table = queue.lanes[lane].table

    def virtual_s(tenant: str, account: str | None) -> float:
        return table.tenants.virtual_s(tenant) if account is None else table.accounts_of(tenant).virtual_s(account)

    return Sharing(virtual_s)


def _parked(lanes: Mapping[Lane, Sharing], jobs: list[Job], parked: Iterable[ParkedJobs]) -> Iterator[Item]:
    """Parked jobs as work behind the live ones of their line, which are like them."""
    for line in parked:
        alike = [j for j in jobs if (j.lane, j.tenant, j.account) == (line.lane, line.tenant, line.account)]
        if not alike:
            continue
        lanes[line.lane].weigh(line.tenant, line.account, 1.0, 1.0)
        chunks = max(1, round(sum(len(job.row.chunks) for job in alike) / len(alike)))
        cost_s = sum(job.chunk_cost_s for job in alike) / len(alike)
        order = inf, -1 if line.urgent else 0, True, 1 << 61, ""
        total = chunks * line.jobs
        yield Item(
            line.line, line.lane, line.tenant, line.account, order, cost_s, [chunks], total, total, real=False,
            more=line.jobs - 1, chain=chunks,
        )  # fmt: skip


class Positions:
    """What was last played of one pool."""

    def __init__(self) -> None:
        self._played = Played({}, {}, 0)
        self._lines: dict[str, tuple[float, int]] = {}
        """By line: seconds from the play until all of its jobs are rendered, and how many those are."""
        self._known: frozenset[str] = frozenset()
        self._at_ms = 0
        self._due_ms = 0

    def due(self, now_ms: int) -> bool:
        """Is it time for another play?"""
        return now_ms >= self._due_ms

    def put(self, scene: Scene, now_ms: int) -> None:
        """Play, and remember what came of it."""
        self._played, self._at_ms = play(scene), now_ms
        self._known = frozenset(job.key for job in scene.jobs)
        self._lines = {}
        for job in scene.jobs:
            line = line_of(job.plan, job.lane)
            finish_s, jobs = self._lines.get(line, (0.0, 0))
            self._lines[line] = max(finish_s, self._played.finish_s.get(job.key, 0.0)), jobs + 1
        for parked in scene.parked:
            finish_s, jobs = self._lines.get(parked.line, (0.0, 0))
            self._lines[parked.line] = self._played.finish_s.get(parked.line, finish_s), jobs + parked.jobs
        self._due_ms = now_ms + 1_000 * (self._played.steps + len(self._known)) // STEPS_A_SECOND

    def knows(self, job: Job) -> bool:
        """Was it there when the last play began?"""
        return job.key in self._known

    def of(self, job: Job) -> tuple[int | None, int | None]:
        """Its position, and when it will be rendered, ms since the epoch; None of what is not known."""
        finish_s = self._played.finish_s.get(job.key)
        waits = any(chunk.state == "w" for chunk in job.row.chunks)
        position = self._played.positions.get(job.key) if waits else None
        return position, None if finish_s is None else self._at_ms + round(1_000 * finish_s)

    def of_line(self, line: str, ahead: int, now_ms: int) -> float | None:
        """Seconds until a job that joins this line behind so many others will be rendered, if it is like them."""
        finish_s, jobs = self._lines.get(line, (0.0, 0))
        if not finish_s:
            return None
        return max(1.0, finish_s * (ahead + 1) / jobs - (now_ms - self._at_ms) / 1_000)
