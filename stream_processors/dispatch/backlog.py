"""Jobs that wait in Kafka rather than in the scheduler's memory, without standing before anybody else. Pure.

Plans are read as fast as they come. A *line* is what shares a window of live jobs: one pool, lane, tenant, account of
the tenant, and whether the job is in a hurry. A plan whose line has no room, or has others waiting before it, is
parked: written to plans.parked, in the partition that its line hashes to, and read again from there when the line has
room. So memory is bounded by the windows, a job is held up only by jobs of its own line, and equals keep their order.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast
from zlib import crc32

from schemas.plan import Plan
from schemas.records import Outgoing
from schemas.request import Lane
from schemas.topics import DISPATCH_STATE, PLANS_PARKED
from schemas.work import ParkedLine

LEAST_JOBS = 8
"""Window of a line when very many lines share a lane."""
PER_SLOT = 4
"""Live jobs that a lane may have for every chunk that the pool's workers can hold."""


def line_of(plan: Plan, lane: Lane | None = None) -> str:
    """Name of the line that a plan waits in. Neither a pool, a lane nor a tenant has a slash in its name. lane: the one
    that its job was moved to."""
    assert plan.placement is not None
    request = plan.request
    hurry = "urgent" if request.deadline_ms is not None or request.priority > 0 else "plain"
    account = request.project or plan.origin.key_id
    return f"{plan.placement.pool}/{lane or request.lane}/{hurry}/{request.tenant}/{account}"


class LineParts(NamedTuple):
    """What the name of a line says."""

    pool: str
    lane: Lane
    hurry: str
    """urgent or plain."""
    tenant: str
    account: str


def parts_of(line: str) -> LineParts:
    """The parts of a name that `line_of` made; an account may hold slashes."""
    return LineParts(*cast(tuple[str, Lane, str, str, str], line.split("/", 4)))


def line_key(line: str) -> str:
    """Key of a line's row in dispatch.state."""
    return f"{line}#parked"


def _lane(line: str) -> str:
    """Pool and lane: the lines that share one budget of live jobs."""
    return "/".join(line.split("/", 2)[:2])


class Backlog:
    """buckets: partitions of plans.parked. window_jobs: live jobs of a lane of a pool in memory; more where its workers
    can hold more."""

    def __init__(self, buckets: int, window_jobs: int) -> None:
        self._buckets, self._window_jobs = buckets, window_jobs
        self._live: dict[str, int] = {}
        self._parked: dict[str, int] = {}
        self._of_tenant: Counter[str] = Counter()
        self._lines: Counter[str] = Counter()
        """By pool and lane: lines that have jobs, live or parked."""
        self._changed: dict[str, None] = {}
        self.slots: dict[str, int] = {}
        """By pool: chunks that its workers can hold."""

    def restore(self, rows: Iterable[ParkedLine]) -> None:
        """Take over what a predecessor wrote."""
        for row in rows:
            self._set_parked(row.line, row.parked)
        self._changed.clear()

    # ---- live jobs -------------------------------------------------------------------------------------------------

    def count(self, line: str, jobs: int) -> None:
        """So many more live jobs of this line; fewer where negative."""
        before = self._has_jobs(line)
        live = self._live.get(line, 0) + jobs
        if live:
            self._live[line] = live
        else:
            self._live.pop(line, None)
        self._recount(line, before)

    def room(self, line: str) -> int:
        """Jobs of this line that may still be opened."""
        return self._window(line) - self._live.get(line, 0)

    def wants(self, line: str) -> bool:
        """Is it time to read parked plans of this line again? Only when half of its window is free: reading a partition
        again costs more than one record."""
        return 2 * self.room(line) >= self._window(line)

    def _window(self, line: str) -> int:
        lane = _lane(line)
        pool, _, _ = lane.partition("/")
        most = max(self._window_jobs, PER_SLOT * self.slots.get(pool, 0))
        sharing = self._lines[lane] + (0 if self._has_jobs(line) else 1)
        return max(min(LEAST_JOBS, most), most // sharing)

    # ---- parked ones -----------------------------------------------------------------------------------------------

    def must_wait(self, line: str) -> bool:
        """Has a new plan of this line to be parked?"""
        return line in self._parked or self.room(line) <= 0

    def park(self, plan: Plan) -> Outgoing:
        """The record that parks a plan."""
        line = line_of(plan)
        self._set_parked(line, self._parked.get(line, 0) + 1)
        return Outgoing(PLANS_PARKED, plan.job, plan, partition=self.bucket(line))

    def taken(self, plan: Plan) -> None:
        """A parked plan was read again."""
        line = line_of(plan)
        self._set_parked(line, max(0, self._parked.get(line, 0) - 1))

    def bucket(self, line: str) -> int:
        """Partition of plans.parked that this line waits in."""
        return crc32(line.encode()) % self._buckets

    def emptied(self, bucket: int) -> None:
        """Nothing is left to read in this partition: what was counted there besides has been lost with its records, and
        must not hold up what comes."""
        for line in [line for line in self._parked if self.bucket(line) == bucket]:
            self._set_parked(line, 0)

    def fitting(self, plans: Sequence[Plan | None], room: dict[str, int]) -> int:
        """How many of these parked plans, in order, may be taken now. None: no plan, it is in nobody's way. room: what
        is left of the windows of lines that were asked about before, changed here."""
        for number, plan in enumerate(plans):
            if plan is not None:
                line = line_of(plan)
                room[line] = room.get(line, self.room(line)) - 1
                if room[line] < 0:
                    return number
        return len(plans)

    def ahead(self, line: str) -> int:
        """Jobs of this line that are before one that joins it now."""
        return self._live.get(line, 0) + self._parked.get(line, 0)

    def parked_of(self, tenant: str) -> int:
        """Parked jobs of a tenant."""
        return self._of_tenant[tenant]

    @property
    def parked(self) -> dict[str, int]:
        """Parked jobs by line."""
        return self._parked

    def rows(self) -> list[Outgoing]:
        """The rows of lines whose number of parked jobs has changed since the last call."""
        changed, self._changed = self._changed, {}
        return [Outgoing(DISPATCH_STATE, line_key(line), self._row(line)) for line in changed]

    def _row(self, line: str) -> ParkedLine | None:
        parked = self._parked.get(line, 0)
        return ParkedLine(line=line, parked=parked) if parked else None

    def _set_parked(self, line: str, parked: int) -> None:
        before = self._has_jobs(line)
        tenant = parts_of(line).tenant
        self._of_tenant[tenant] += parked - self._parked.get(line, 0)
        if not self._of_tenant[tenant]:
            del self._of_tenant[tenant]
        if parked:
            self._parked[line] = parked
        else:
            self._parked.pop(line, None)
        self._changed[line] = None
        self._recount(line, before)

    # ---- lines that share a lane -----------------------------------------------------------------------------------

    def _has_jobs(self, line: str) -> bool:
        return line in self._live or line in self._parked

    def _recount(self, line: str, before: bool) -> None:
        self._lines[_lane(line)] += self._has_jobs(line) - before
        if not self._lines[_lane(line)]:
            del self._lines[_lane(line)]
