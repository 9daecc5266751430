"""Fetches one demo job's files, checks them against its request, and draws the contact sheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ops.cli.downloads import download
from ops.cli.footage import differences, read
from ops.storage.store import Store
from ops.view.sheet import Row, contact_sheet
from ops.view.summary import Outcome
from schemas.errors import InvalidMessage
from schemas.events import JobRequest, JobState

PICTURES = 5
EXPECT = "expect"
"""Metadata entry of an example: how it should end. One of completed (if left out), reused, rejected."""


@dataclass(frozen=True, slots=True)
class Result:
    """A job at its end, with pictures of its video."""

    request: JobRequest
    outcome: Outcome
    pictures: tuple[Image.Image, ...] = ()


def collect(store: Store, request: JobRequest, state: JobState, folder: Path) -> Result:
    """Fetch video and thumbnail of a job and compare them with what was asked for."""
    faults = ending_faults(request, state)
    if state.video is None:
        return Result(request, Outcome(state, request.job_id, faults=faults))
    files = download(store, state, folder, sheet=False)
    try:
        footage = read(files.video, PICTURES)
    except InvalidMessage as exc:
        return Result(request, Outcome(state, request.job_id, str(files.video), faults=(*faults, str(exc))))
    size_bytes = files.video.stat().st_size
    all_faults = (*faults, *differences(footage, request))
    return Result(request, Outcome(state, request.job_id, str(files.video), size_bytes, all_faults), footage.pictures)


def ending_faults(request: JobRequest, state: JobState) -> tuple[str, ...]:
    """How the end of a job differs from what its example expects. Pure."""
    expected = request.metadata.get(EXPECT, "completed")
    faults = []
    if expected == "rejected":
        if state.state != "rejected" or state.reason is None:
            faults.append(f"should have been rejected with a reason, is {state.state}")
        return tuple(faults)
    if state.state != "completed":
        why = f": {state.reason.message}" if state.reason is not None else ""
        faults.append(f"should have been completed, is {state.state}{why}")
    progress = state.progress
    if expected == "reused" and (progress is None or not progress.chunks or progress.reused != progress.chunks):
        reused = f"{progress.reused} of {progress.chunks}" if progress is not None else "none"
        faults.append(f"should have reused all chunks, reused {reused}")
    return tuple(faults)


def write_contact_sheet(results: Sequence[Result], path: Path) -> None:
    """One PNG with a row per job, the longest stories first and the many small ones last."""
    by_length = sorted(results, key=lambda result: (result.request.lane == "bulk", -len(result.request.shots)))
    contact_sheet([_row(result) for result in by_length], PICTURES).save(path)


def _row(result: Result) -> Row:
    outcome = result.outcome
    output = result.request.output
    prompts = tuple(f"{shot.prompt} ({shot.duration_s:g} s)" for shot in result.request.shots)
    reason = outcome.state.reason
    about = (f"{outcome.state.state}: {reason.message}",) if reason is not None else ()
    title = f"{outcome.title}  {output.width_px}x{output.height_px}  {result.request.lane}"
    return Row(title, prompts + about, result.pictures, bad=bool(outcome.faults))
