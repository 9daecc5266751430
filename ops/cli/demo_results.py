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
from schemas.events import JobState
from schemas.request import JobRequest

PICTURES = 5
EXPECT = "expect"
"""Metadata entry of an example: how it should end. One of completed (if left out), reused, rejected.

reused: its chunks and those of the jobs with the same shots are rendered once, whichever of them comes first.
"""


@dataclass(frozen=True, slots=True)
class Result:
    """A job at its end, with pictures of its video."""

    request: JobRequest
    outcome: Outcome
    pictures: tuple[Image.Image, ...] = ()


def collect_all(store: Store, requests: Sequence[JobRequest], states: Sequence[JobState], folder: Path) -> list[Result]:
    """Fetch video and thumbnail of every job and compare them with what was asked for."""
    jobs = list(zip(requests, states, strict=True))
    results = []
    for request, state in jobs:
        twins = [s for r, s in jobs if s is not state and (r.shots, r.output) == (request.shots, request.output)]
        results.append(_collect(store, request, state, ending_faults(request, state, twins), folder))
    return results


def _collect(store: Store, request: JobRequest, state: JobState, faults: tuple[str, ...], folder: Path) -> Result:
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


def ending_faults(request: JobRequest, state: JobState, twins: Sequence[JobState] = ()) -> tuple[str, ...]:
    """How the end of a job differs from what its example expects. Pure. twins: states of jobs with the same shots."""
    expected = request.metadata.get(EXPECT, "completed")
    faults = []
    if expected == "rejected":
        if state.state != "rejected" or state.reason is None:
            faults.append(f"should have been rejected with a reason, is {state.state}")
        return tuple(faults)
    if state.state != "completed":
        why = f": {state.reason.message}" if state.reason is not None else ""
        faults.append(f"should have been completed, is {state.state}{why}")
    if expected == "reused":
        chunks = state.progress.chunks if state.progress is not None else 0
        reused = sum(s.progress.reused for s in (state, *twins) if s.progress is not None)
        if not chunks or not twins or reused != chunks * len(twins):
            faults.append(
                f"with the same shots as {len(twins)} more, should have reused {chunks * len(twins)} chunks, "
                f"reused {reused}"
            )
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
