"""`reelbus batch submit`."""

import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ops.cli.batch import (
    REFUSED_ROWS,
    BatchId,
    Files,
    FormatOption,
    Matrix,
    SetOption,
    Template,
    Tenant,
    planned,
)
from ops.cli.connection import Place
from ops.cli.output import data_json, say

if TYPE_CHECKING:
    from producers.batch.following import Following
    from producers.batch.plan import Plan
    from producers.batch.sources import Source

LATEST_S = 1.0
NO_VIDEO, TERMINATED = 3, 143


class _Results:
    """Results of a batch, told as they come if that was asked for."""

    def __init__(self, following: "Following", tell: bool) -> None:
        self.following = following
        self.without_video = 0
        self._tell = tell

    def take(self, timeout_s: float) -> None:
        """Those that are there."""
        from producers.batch.results import row_of

        for done in self.following.poll(timeout_s):
            self.without_video += done.state != "completed"
            if self._tell:
                data_json(row_of(done))


def submit(
    place: Place,
    files: Files,
    format: FormatOption = None,
    batch_id: BatchId = "",
    template: Template = None,
    matrix: Matrix = None,
    set_: SetOption = None,
    tenant: Tenant = "default",
    errors: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where rows that are not sent are told; BATCH.errors.jsonl.")
    ] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Jobs per second at most.")] = None,
    max_unfinished: Annotated[
        int | None, typer.Option(min=1, help="Wait while so many jobs of the batch are not finished.")
    ] = None,
    signing_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Sign every request with this key.")] = None,
    unchanged: Annotated[
        bool, typer.Option("--unchanged", help="Go on although a file looks changed: the rows sent are the same.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Results as JSON lines as they finish, until all did.")
    ] = False,
    timeout_s: Annotated[
        float | None, typer.Option(min=0, help="With --follow: after the last job is sent, wait no longer.")
    ] = None,
) -> None:
    """Send a batch. The same command again goes on where it was, and sends nothing twice.

    Rows that break the contract go to the error file and the others are sent. Exit code 1 for such rows or when the
    time ran out, 3 when a job that was followed ended without a video.
    """
    from ops.cli.logs import quiet

    quiet()
    plan, sources = planned(place, files, format, batch_id, template, matrix, set_, tenant)
    if timeout_s is not None and not follow:
        raise typer.BadParameter("--timeout-s goes with --follow")
    signal.signal(signal.SIGTERM, _terminated)
    refused, results = _run(place, plan, sources, errors, rate, max_unfinished, signing_key, unchanged, follow)
    ended = True
    if results is not None:
        ended = not follow or _followed(results, timeout_s)
        results.following.close()
    if refused or not ended:
        raise typer.Exit(REFUSED_ROWS)
    if results is not None and follow and results.without_video:
        raise typer.Exit(NO_VIDEO)
    say(f"next: reelbus batch show {plan.batch_id}")


def _terminated(*_: object) -> NoReturn:
    raise SystemExit(TERMINATED)


def _run(
    place: Place, plan: "Plan", sources: "list[Source]", errors: Path | None, rate: float | None,
    max_unfinished: int | None, signing_key: Path | None, unchanged: bool, follow: bool,
) -> "tuple[int, _Results | None]":  # fmt: skip
    """Send it. Returns how many jobs were wrong, and the results where anybody wants them."""
    from ops.cli.batch_bar import watched
    from producers.batch import files as batch_files
    from producers.batch.following import Following
    from producers.batch.pair import Pair
    from producers.batch.submitting import Submission, begin
    from producers.client.signing import Signer

    signer = Signer.from_file(signing_key) if signing_key else None
    with ExitStack() as stack:
        keep = stack.enter_context(
            batch_files.CheckpointFile(batch_files.path_of(place.settings.data_dir, plan.batch_id))
        )
        known, pair, now_ms = batch_files.load(keep.path), Pair(place.settings), time.time_ns() // 1_000_000
        checkpoint = begin(plan, sources, known, target=pair.target, now_ms=now_ms, unchanged=unchanged)
        path = errors or Path(f"{plan.batch_id}.errors.jsonl")
        same = checkpoint.errors == str(path.resolve())
        report = batch_files.ErrorFile(path, checkpoint.errors_bytes if same else 0)
        checkpoint.errors, before = str(path.resolve()), checkpoint.sent
        if known is not None:
            say(f"going on with batch {plan.batch_id}: {before:,} sent before")
        keep.keep(checkpoint)
        results = None
        if follow or max_unfinished is not None:
            results = _Results(Following(place.settings, plan.batch_id, plan.tenant, checkpoint.started_at_ms), follow)
        following = results.following if results else None
        submission = Submission(
            place.settings, plan, checkpoint, keep, report, pair, signer=signer, rate=rate,
            held=(lambda: following.unfinished >= max_unfinished) if following and max_unfinished else None,
            on_job=following.expect if following else None,
        )  # fmt: skip
        began_s = time.monotonic()
        for _ in watched(submission.run(sources), lambda: checkpoint.sent, sources):
            if results is not None:
                results.take(0)
    sent, took_s = checkpoint.sent - before, max(time.monotonic() - began_s, 1e-9)
    say(f"batch {plan.batch_id}: {checkpoint.sent:,} jobs sent, {sent:,} of them now ({sent / took_s:,.0f}/s)")
    if checkpoint.refused:
        say(f"{checkpoint.refused:,} jobs were wrong and not sent; see {report.path}")
    return checkpoint.refused, results


def _followed(results: _Results, timeout_s: float | None) -> bool:
    """Wait for the ends. Returns whether all came in time."""
    until_s = None if timeout_s is None else time.monotonic() + timeout_s
    while results.following.unfinished:
        if until_s is not None and time.monotonic() > until_s:
            say(f"{results.following.unfinished:,} jobs have not ended after {timeout_s:g} s")
            return False
        results.take(LATEST_S)
    return True
