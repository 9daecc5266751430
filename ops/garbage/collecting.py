"""One collection: look at the store, ask what is needed, delete the rest.

Order: list, then read what jobs need, then delete; for every batch that is read anew. So a chunk that a job named when
the scheduler's state was read is never deleted. A job that joins after that and finds an old chunk of the batch in the
seconds before it goes is in for one repeat: whoever misses the object next (inspect, mux, or a worker that starts from
it) has it rendered again, and the new object is young. ops/garbage/core.py says what is left alone anyway.

Killed at any moment, it leaves fewer objects, and the next collection goes on.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from ops import deletion
from ops.garbage import leftovers, living, owner
from ops.garbage.core import CHUNKS, INPUTS, UNKNOWN, VIDEOS, Doomed, Living, doomed, limits, too_many_unknown
from ops.settings import Settings
from ops.storage.store import Listed, Store
from schemas.events import Reason

LISTED_AT_ONCE = 10_000
BATCH = 1000
THREADS = 4
EXPIRED = Reason(code="expired", message="kept as long as was promised")
Told = Callable[[str, str], None]


@dataclass(slots=True)
class Report:
    """What one collection did, or would do."""

    dry_run: bool
    seen: int = 0
    """Objects under chunks/, inputs/ and videos/."""
    deleted: dict[str, int] = field(default_factory=dict)
    """Objects by reason."""
    freed_bytes: int = 0
    expired_jobs: int = 0
    """Jobs whose files were deleted because their time is over, and that was said."""
    spared: int = 0
    """Old enough to go, but a job needs them."""
    unknown_videos_left: int = 0
    """Files of unknown jobs that are too many to be orphans."""
    scratch_folders: int = 0
    """Left on this machine by processes that are gone."""


def collect(
    settings: Settings,
    store: Store,
    now_ms: int,
    *,
    dry_run: bool = False,
    take_over: bool = False,
    unknown_too: bool = False,
    told: Told = lambda key, why: None,
) -> Report:
    """One collection. Raises Transient and Fatal with nothing half done.

    take_over:   make this installation the store's owner
    unknown_too: delete files of unknown jobs also when they are most of what is there
    told:        called with each object, or job, and the reason, once it is gone (dry_run: at once)
    """
    owner.check(settings, store, write=not dry_run, take=take_over and not dry_run)
    report = Report(dry_run)
    # In this order: what track had folded by the first line is in the rows of the second.
    settled = living.all_told(settings, now_ms)
    known = living.jobs(settings, now_ms)
    _expire(settings, store, known, now_ms, report, told)
    allowed = limits(settings.chunk_retention_h, settings.input_retention_h)
    for prefix in (VIDEOS, CHUNKS, INPUTS):
        objects = _counted(store.listing(prefix), report)
        while batch := list(islice(objects, LISTED_AT_ONCE)):
            useless = list(doomed(batch, Living(frozenset(), known.states, all_told=settled), allowed, now_ms))
            if prefix == VIDEOS and not unknown_too and too_many_unknown(useless, len(batch)):
                report.unknown_videos_left += sum(one.why == UNKNOWN for one in useless)
                useless = [one for one in useless if one.why != UNKNOWN]
            for start in range(0, len(useless), BATCH):
                some = {one.key for one in useless[start : start + BATCH]}
                needed = living.needed(settings, known, settled)
                going = list(doomed((one for one in batch if one.key in some), needed, allowed, now_ms))
                report.spared += len(some) - len(going)
                _delete(store, going, report, told)
    report.scratch_folders = leftovers.sweep(settings, dry_run=dry_run)
    return report


def _counted(objects: Iterator[Listed], report: Report) -> Iterator[Listed]:
    for one in objects:
        report.seen += 1
        yield one


def _expire(settings: Settings, store: Store, known: living.Jobs, now_ms: int, report: Report, told: Told) -> None:
    """The way of `reelbus sweep`: files first, then the event that says so."""
    if not settings.video_retention_days:
        return
    overdue = list(known.overdue.values())
    gone = (
        (state.job for state in overdue)
        if report.dry_run
        else deletion.delete(settings, store, overdue, EXPIRED, now_ms)
    )
    for job in gone:
        report.expired_jobs += 1
        told(job, "expired")


def _delete(store: Store, going: Sequence[Doomed], report: Report, told: Told) -> None:
    with ThreadPoolExecutor(THREADS) as threads:
        done = (None for _ in going) if report.dry_run else threads.map(store.delete, [one.key for one in going])
        for one, _ in zip(going, done, strict=True):
            report.deleted[one.why] = report.deleted.get(one.why, 0) + 1
            report.freed_bytes += one.size_bytes
            told(one.key, one.why)
