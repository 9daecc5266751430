"""Plain lines, for logs and pipes: one per change that matters. Pure."""

from ops.view.describe import chunks, job_name, note, queue, stopped
from ops.view.live import lane_counts
from ops.view.live_state import Snapshot
from schemas.events import JobState
from schemas.lifecycle import TERMINAL


def change(before: JobState | None, after: JobState, tenant: str) -> str | None:
    """A line when a job's stage, lane, or count of finished chunks changed, or what stops it, else None."""
    same = before is not None and (before.state, before.lane, stopped(before)) == (
        after.state,
        after.lane,
        stopped(after),
    )
    if before is not None and same and chunks(before) == chunks(after):
        return None
    return line(after, tenant)


def line(state: JobState, tenant: str) -> str:
    """'express job-1 rendering 2/5 chunks'; `tenant` is the one that goes without saying."""
    parts = [f"{state.lane:8}", job_name(state.job, tenant), state.state]
    if (done := chunks(state)) and state.state != "queued":
        parts.append(f"{done} chunks")
    if where := queue(state):
        parts.append(f"({where})")
    if (state.state in TERMINAL or stopped(state)) and (why := note(state)):
        parts.append(f"- {why}")
    return " ".join(parts)


def totals(snapshot: Snapshot) -> str:
    """'express 1 done; standard 2 rendering, 3 waiting; bulk 20 waiting'."""
    lanes = []
    for lane, counts in lane_counts(snapshot.jobs).items():
        if counts:
            lanes.append(f"{lane} " + ", ".join(f"{number} {kind}" for kind, number in counts.items()))
    return "; ".join(lanes) or "no jobs"
