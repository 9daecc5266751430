"""What workers spent, in the account of the job that the task was handed out for. Every report counts once. Pure.

What comes back while the job wants chunks goes into its own account, which its events tell as `progress.device_s` and
track meters at the end. What comes later is told beside it, as a total that only grows (`job.metered`): of a chunk that
was on the device when its job ended, of a worker that was taken for dead, of another request under the same id.
"""

from msgspec.structs import replace

from schemas.ids import mark_of
from schemas.records import Outgoing
from schemas.work import ChunkRendered, SchedulerRow
from stream_processors.dispatch.book import Book
from stream_processors.dispatch.ended import metered
from stream_processors.dispatch.job import Job

MAX_MARKS = 1_500
"""Reports of one job that are known again: nearly four for every chunk. A row must stay a record that fits."""


def spend(book: Book, job: Job, rendered: ChunkRendered, now_ms: int) -> list[Outgoing]:
    """Put a report into the account of the job that has the chunk out. Returns the entry of the ledger; nothing when
    there is nothing to count. The row is still to be saved."""
    row = _counted(job.row, rendered)
    if row is None:
        return []
    job.row = row
    device_s = round(job.chunk(rendered.index).device_s + rendered.device_s, 3)
    job.set_chunk(rendered.index, device_s=device_s)
    return [book.accounts.spent(row, rendered, job, now_ms)]


def spend_late(book: Book, rendered: ChunkRendered, now_ms: int) -> list[Outgoing]:
    """Tell a report that no account of a job holds. Of a job that is forgotten nothing is known, and nothing told."""
    job = book.jobs.get(rendered.job)
    before = job.row if job is not None else book.ended.rows.get(rendered.job)
    row = None if before is None else _counted(before, rendered)
    if row is None:
        return []
    row = replace(row, late_device_s=round(row.late_device_s + rendered.device_s, 3))
    entry = book.accounts.spent(row, rendered, job, now_ms)
    if job is None:
        return [entry, book.ended.amend(row), metered(row, now_ms)]
    job.row = row
    return [entry, book.saved(job), metered(row, now_ms)]


def _counted(row: SchedulerRow, rendered: ChunkRendered) -> SchedulerRow | None:
    """The row with this report marked; None when it was before, or costs nothing.

    inspect may pass a report twice, at worst once as rendered and once as failed: the status is no part of the mark.
    """
    if rendered.device_s <= 0:
        return None
    said = (rendered.chunk_id, rendered.index, rendered.attempt, rendered.dispatched_at_ms, rendered.device_s)
    mark = mark_of(rendered.worker_id, *map(str, said))
    if mark in row.counted:
        return None
    return replace(row, counted=(*row.counted, mark)[-MAX_MARKS:])
