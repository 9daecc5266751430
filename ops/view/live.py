"""The live view: lanes, workers, jobs. Pure: a snapshot in, a rich renderable out."""

from collections import Counter

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ops.view.describe import STYLE, WAITING, chunks, job_name, note, queue, waited_s, webhook, worker
from ops.view.live_state import Snapshot
from ops.view.switches import listed
from ops.view.table import plain_table
from ops.view.units import count, seconds, shortened
from schemas.events import JobState, State
from schemas.lifecycle import TERMINAL
from schemas.request import LANES

BAR_WIDTH = 10
WIDTHS = (14, 8, 10, 8, 24, 10, 0)
"""Least widths of the columns of jobs."""
_ORDER: dict[State, int] = {"assembling": 0, "rendering": 1, "queued": 2, "planned": 3, "accepted": 4}


def live(snapshot: Snapshot, max_jobs: int) -> Group:
    """Everything at a glance, with at most `max_jobs` job rows: the busy ones first, then those that ended last."""
    parts: list[RenderableType] = [_lanes(snapshot), "", _workers(snapshot), "", _jobs(snapshot, max_jobs)]
    if snapshot.switches:
        parts[:0] = [listed(snapshot.switches), ""]
    if snapshot.deliveries:
        parts.extend(["", _webhooks(snapshot)])
    return Group(*parts)


def lane_counts(jobs: tuple[JobState, ...]) -> dict[str, Counter[str]]:
    """Lane -> how many jobs wait, render, assemble, are done, and ended without a video."""
    counts: dict[str, Counter[str]] = {lane: Counter() for lane in LANES}
    for job in jobs:
        if job.state in WAITING:
            kind = "waiting"
        elif job.state in TERMINAL:
            kind = "done" if job.state == "completed" else "ended without video"
        else:
            kind = str(job.state)
        counts[job.lane][kind] += 1
    return counts


def _lanes(snapshot: Snapshot) -> Table:
    kinds = ("waiting", "rendering", "assembling", "done", "ended without video")
    table = plain_table("lane", *kinds, "first in queue", numbers=kinds)
    for lane, counts in lane_counts(snapshot.jobs).items():
        table.add_row(lane, *(str(counts[kind]) if counts[kind] else "·" for kind in kinds), _first(snapshot, lane))
    return table


def _first(snapshot: Snapshot, lane: str) -> str:
    waiting = [j for j in snapshot.jobs if j.lane == lane and j.state in WAITING and queue(j)]
    return _short(min(waiting, key=_position).job, snapshot) if waiting else ""


def _position(job: JobState) -> int:
    at = job.progress.queue_position if job.progress is not None else None
    return 1_000_000 if at is None else at


def _workers(snapshot: Snapshot) -> Table | Text:
    if not snapshot.workers:
        return Text("no render worker is running", style="yellow")
    table = plain_table("worker", "pool", "device", "doing", "rendered", numbers=("rendered",))
    drained = {switch.name for switch in snapshot.switches if switch.kind == "worker"}
    for state in snapshot.workers:
        doing = worker(state, state.worker_id in drained)
        table.add_row(shortened(state.worker_id, 28), state.pool, state.device, doing, str(state.rendered))
    return table


def _short(job: str, snapshot: Snapshot) -> str:
    return shortened(job_name(job, snapshot.tenant), 28)


def _jobs(snapshot: Snapshot, max_jobs: int) -> Table:
    table = plain_table("job", "lane", "state", "queue", "chunks", "waited", "", numbers=("waited",))
    for column, width in zip(table.columns, WIDTHS, strict=True):
        column.min_width = width  # so that columns stand still while jobs change places
    table.columns[-1].no_wrap = False  # the one column that gives way; its text is cut, not wrapped
    for job in ordered(snapshot.jobs)[:max_jobs]:
        table.add_row(
            _short(job.job, snapshot), job.lane, Text(job.state, style=STYLE[job.state]), queue(job), _bar(job),
            seconds(waited_s(job, snapshot.now_ms)), Text(note(job), style="dim", no_wrap=True, overflow="ellipsis"),
        )  # fmt: skip
    if (more := len(snapshot.jobs) - max_jobs) > 0:
        table.add_row(Text(f"and {count(more, 'more job')}", style="dim"))
    return table


def ordered(jobs: tuple[JobState, ...]) -> list[JobState]:
    """Busy jobs first, then waiting ones as they will be served lane by lane, then ended ones, the latest first."""

    def rank(job: JobState) -> tuple[int, int, int]:
        if job.state in TERMINAL:
            return len(_ORDER), 0, -job.updated_at_ms
        return _ORDER[job.state], LANES.index(job.lane), _position(job)

    return sorted(jobs, key=rank)


def _bar(job: JobState) -> Text:
    if job.progress is None or not job.progress.chunks:
        return Text("")
    done = job.progress.rendered + job.progress.reused
    filled = BAR_WIDTH * done // job.progress.chunks
    return Text.assemble(("━" * filled, "green"), ("─" * (BAR_WIDTH - filled), "bright_black"), f" {chunks(job)}")


def _webhooks(snapshot: Snapshot) -> Table:
    table = plain_table("webhook of", "outcome")
    for delivery in snapshot.deliveries[-5:]:
        table.add_row(_short(delivery.job, snapshot), webhook(delivery))
    return table
