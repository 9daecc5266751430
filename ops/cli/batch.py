"""`reelbus batch`: many jobs from files of rows."""

import re
import sys
import time
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.connection import Place, connected
from ops.cli.output import data, data_json, paper, say, screen

if TYPE_CHECKING:
    from producers.batch.results import Finishing
    from producers.batch.rows import Plan
    from producers.batch.sources import Source
    from producers.batch.submitting import Submission

REFUSED_ROWS = 1
GATE_POLL_S = 0.5
LATEST_S = 1.0


class FormatName(StrEnum):
    """Format of the inputs."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Many jobs from files of rows: JSONL, CSV, Parquet, OpenAI Batch.", no_args_is_help=True)
    for command in (validate, submit, show, export, cancel):
        group.command()(connected(command))
    group.command("list")(connected(list_))
    app.add_typer(group, name="batch")


Files = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Files, globs, s3://bucket/beginning*, - for stdin.")
]
FormatOption = Annotated[FormatName | None, typer.Option("--format", help="When the names do not say it.")]
BatchId = Annotated[str, typer.Option(help="Name of the batch; made from the names of the files if left out.")]
Template = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Request (JSON or TOML) with {column} where rows fill it in.")
]
Matrix = Annotated[
    list[str] | None, typer.Option(metavar="COLUMN=A,B,...", help="One job per row and value; may be repeated.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="For rows without it; may be repeated.")
]
Tenant = Annotated[str, typer.Option(help="On whose account.")]
Errors = Annotated[Path | None, typer.Option(metavar="FILE", help="Where wrong rows are told; BATCH.errors.jsonl.")]
Batch = Annotated[str, typer.Argument(metavar="BATCH", help="Name of the batch.")]


def validate(
    place: Place,
    files: Files,
    format: FormatOption = None,
    batch_id: BatchId = "",
    template: Template = None,
    matrix: Matrix = None,
    set_: SetOption = None,
    tenant: Tenant = "default",
    errors: Errors = None,
    workers: Annotated[int, typer.Option(min=1, help="For the estimate of the time.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="The outcome as one JSON object.")] = False,
) -> None:
    """Check every row as the pipeline would, and estimate cost and time. Sends nothing. Exit code 1 for wrong rows."""
    from producers.batch.files import ErrorFile

    plan, sources = _planned(place, files, format, batch_id, template, matrix, set_, tenant)
    report = ErrorFile(errors or Path(f"{plan.batch_id}.errors.jsonl"), append=False)
    if report.path.exists():
        report.path.unlink()
    try:
        estimate = _check_all(place, plan, sources, report)
    finally:
        report.close()
    outcome = {
        "batch_id": plan.batch_id, "jobs": estimate.jobs, "wrong": report.count, "video_s": round(estimate.seconds, 3),
        "chunks": estimate.chunks, "device_s": round(estimate.device_s, 3), "workers": workers,
        "wall_s": round(estimate.wall_s(workers), 3), "lanes": dict(estimate.lanes),
        "errors": str(report.path) if report.count else "",
    }  # fmt: skip
    if as_json:
        data_json(outcome)
    else:
        from ops.view.units import count, seconds

        data(f"{count(estimate.jobs, 'job')}, {seconds(estimate.seconds)} of video, {count(estimate.chunks, 'chunk')}")
        used, wall = seconds(estimate.device_s), seconds(estimate.wall_s(workers))
        data(f"about {used} on a device; {wall} with {count(workers, 'worker')} and nothing else to do")
        if report.count:
            say(f"{count(report.count, 'job')} cannot be sent; see {report.path}")
    if report.count:
        raise typer.Exit(REFUSED_ROWS)


def _check_all(place: Place, plan: "Plan", sources: "list[Source]", report: Any) -> Any:
    """Every row through the same checks as in moderate; what passes is added to the estimate."""
    from msgspec.structs import replace

    from producers.batch.estimate import Estimate
    from producers.batch.rows import RowFault, requests_of
    from producers.batch.sources import rows
    from schemas.errors import JobRejected
    from schemas.request import JobRequest
    from stream_processors.moderate.checks import check
    from stream_processors.moderate.shell import load_offer

    offer, now_ms, cells = load_offer(place.settings), time.time_ns() // 1_000_000, plan.cells()
    estimate = Estimate()

    def judge(request: JobRequest) -> RowFault | None:
        # Whether webhooks are signed is not known here: that is a setting of the pipeline's machines.
        try:
            check(replace(request, webhook=None), now_ms, offer)
        except JobRejected as exc:
            return RowFault(exc.field, exc.message)
        return None

    for source in sources:
        for number, raw in rows(source, 0, place.settings.s3_endpoint_url):
            if isinstance(raw, RowFault):
                report.add(source.name, number, 0, raw)
                continue
            for cell, request, _ in requests_of(plan, source.name, number, raw or {}, cells, typed=source.typed):
                if raw is None:
                    break
                fault = request if isinstance(request, RowFault) else judge(request)
                if fault is not None:
                    report.add(source.name, number, cell, fault)
                elif isinstance(request, JobRequest):
                    estimate.add(request, offer.models)
    return estimate


def submit(
    place: Place,
    files: Files,
    format: FormatOption = None,
    batch_id: BatchId = "",
    template: Template = None,
    matrix: Matrix = None,
    set_: SetOption = None,
    tenant: Tenant = "default",
    errors: Errors = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Jobs per second at most.")] = None,
    max_unfinished: Annotated[
        int | None, typer.Option(min=1, help="Wait while so many jobs of the batch are not finished.")
    ] = None,
    signing_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Sign every request with this key.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Results as JSON lines as they finish, until all did.")
    ] = False,
) -> None:
    """Send a batch. The same command again goes on where it was, and sends nothing twice.

    Wrong rows go to the error file and the others are sent. Exit code 1 for wrong rows.
    """
    from ops.cli.logs import quiet
    from producers.batch import files as batch_files
    from producers.batch.results import Finishing
    from producers.batch.submitting import Submission, begin
    from producers.client.signing import Signer

    quiet()
    plan, sources = _planned(place, files, format, batch_id, template, matrix, set_, tenant)
    path = batch_files.folder_of(place.settings.data_dir) / f"{plan.batch_id.replace(':', '_')}.json"
    known = batch_files.load(path)
    now_ms = time.time_ns() // 1_000_000
    checkpoint = begin(plan, sources, known, now_ms)
    if known is not None:
        say(f"going on with batch {plan.batch_id}: {checkpoint.sent:,} sent before")
    report = batch_files.ErrorFile(errors or Path(f"{plan.batch_id}.errors.jsonl"), append=known is not None)
    with ExitStack() as stack:
        finishing = None
        if follow or max_unfinished is not None:
            finishing = stack.enter_context(Finishing(place.settings, plan.batch_id, checkpoint.started_at_ms, now_ms))
        submission = Submission(
            place.settings, plan, checkpoint, batch_files.CheckpointFile(path), report,
            signer=Signer.from_file(signing_key) if signing_key else None, rate=rate,
            gate=_gate(finishing, max_unfinished, follow),
        )  # fmt: skip
        began_s, before = time.monotonic(), checkpoint.sent
        _send(submission, sources)
        took_s = max(time.monotonic() - began_s, 1e-9)
        sent = checkpoint.sent - before
        say(f"batch {plan.batch_id}: {checkpoint.sent:,} jobs sent, {sent:,} of them now ({sent / took_s:,.0f}/s)")
        if follow and finishing is not None:
            while finishing.count < checkpoint.sent:
                _tell(finishing, LATEST_S)
    if checkpoint.refused:
        say(f"{checkpoint.refused:,} rows were wrong and not sent; see {report.path}")
        raise typer.Exit(REFUSED_ROWS)
    say(f"next: reelbus batch show {plan.batch_id}")


def _gate(finishing: "Finishing | None", limit: int | None, follow: bool) -> Any:
    def gate(sent: int) -> None:
        if finishing is None:
            return
        _drop_or_tell(finishing, follow, 0)
        while limit is not None and sent - finishing.count >= limit:
            _drop_or_tell(finishing, follow, GATE_POLL_S)

    return gate


def _drop_or_tell(finishing: "Finishing", follow: bool, timeout_s: float) -> None:
    if follow:
        _tell(finishing, timeout_s)
    else:
        for _ in finishing.poll(timeout_s):
            pass


def _tell(finishing: "Finishing", timeout_s: float) -> None:
    from producers.batch.results import row_of

    for done in finishing.poll(timeout_s):
        data_json(row_of(done))


def _send(submission: "Submission", sources: "list[Source]") -> None:
    """Run it with a bar on stderr: jobs, rate, and the time left where the sizes of the inputs tell it."""
    if not sys.stderr.isatty():
        for _ in submission.run(sources):
            pass
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.fields[jobs]} jobs, {task.fields[rate]}/s"), BarColumn(), TimeRemainingColumn())
    sized = all(source.size_bytes for source in sources)
    total = sum(source.size_bytes for source in sources) if sized else None
    began_s, before = time.monotonic(), submission.checkpoint.sent
    with Progress(*columns, console=screen(), transient=True) as bar:
        task = bar.add_task("", total=total, jobs="0", rate="-")
        for read_bytes in submission.run(sources):
            sent = submission.checkpoint.sent
            rate = (sent - before) / max(time.monotonic() - began_s, 1e-3)
            bar.update(task, completed=read_bytes, jobs=f"{sent:,}", rate=f"{rate:,.0f}")


def show(
    place: Place, batch: Batch, as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False
) -> None:
    """Say where a batch stands: jobs by state, device time."""
    from ops.cli.logs import quiet
    from producers.batch.results import latest, summaries
    from schemas.errors import Fatal

    quiet()
    found = summaries(latest(place.settings, batch).values()).get(batch)
    if found is None:
        raise Fatal(f"nothing is known of batch {batch}; `reelbus batch list` shows all batches")
    if as_json:
        data_json(found.plain())
        return
    states = ", ".join(f"{count:,} {state}" for state, count in found.states.most_common())
    data(f"{batch}: {found.status}, {found.total:,} jobs: {states}; {found.device_s:,.1f} s on devices")


def list_(
    place: Place, as_json: Annotated[bool, typer.Option("--json", help="One JSON object per batch.")] = False
) -> None:
    """All batches that the pipeline knows of."""
    from ops.cli.logs import quiet
    from ops.view.table import plain_table
    from producers.batch.results import latest, summaries

    quiet()
    found = summaries(latest(place.settings).values()).values()
    if as_json:
        for batch in found:
            data_json(batch.plain())
        return
    table = plain_table(
        "batch", "status", "jobs", "unfinished", "completed", numbers=("jobs", "unfinished", "completed")
    )
    for batch in found:
        completed = f"{batch.states['completed']:,}"
        table.add_row(batch.batch_id, batch.status, f"{batch.total:,}", f"{batch.unfinished:,}", completed)
    paper().print(table)


def export(
    place: Place,
    batch: Batch,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Ends in .jsonl or .parquet.")],
    finished: Annotated[bool, typer.Option("--finished", help="Only jobs that have ended.")] = False,
) -> None:
    """Write one row per job of a batch, with stable columns."""
    from ops.cli.logs import quiet
    from producers.batch.results import latest, row_of, write
    from schemas.errors import Fatal
    from schemas.lifecycle import TERMINAL

    if out.suffix not in (".jsonl", ".parquet"):
        raise typer.BadParameter(f"--out {out}: expected a name that ends in .jsonl or .parquet")
    quiet()
    states = latest(place.settings, batch)
    if not states:
        raise Fatal(f"nothing is known of batch {batch}; `reelbus batch list` shows all batches")
    wanted = [state for _, state in sorted(states.items()) if not finished or state.state in TERMINAL]
    say(f"{write(map(row_of, wanted), out):,} rows in {out}")


def cancel(
    place: Place,
    batch: Batch,
    reason: Annotated[str, typer.Option(help="Kept with the jobs' results.")] = "the batch was cancelled",
) -> None:
    """Cancel every job of a batch that is not finished. Jobs that moderate has not read yet are not known yet."""
    from ops.cli.logs import quiet
    from producers.batch.results import latest
    from producers.client import Operator
    from schemas.errors import Fatal
    from schemas.lifecycle import TERMINAL

    quiet()
    states = latest(place.settings, batch)
    if not states:
        raise Fatal(f"nothing is known of batch {batch}; `reelbus batch list` shows all batches")
    jobs = [state.job for state in states.values() if state.state not in TERMINAL]
    with Operator(place.settings) as operator:
        operator.cancel_many(jobs, reason)
    say(f"asked to cancel {len(jobs):,} of {len(states):,} jobs; next: reelbus batch show {batch}")


def _planned(
    place: Place, files: list[str], format: FormatName | None, batch_id: str, template: Path | None,
    matrix: list[str] | None, set_: list[str] | None, tenant: str,
) -> "tuple[Plan, list[Source]]":  # fmt: skip
    from producers.batch import rows, sources
    from schemas.ids import JOB_ID_PATTERN, event_id

    found = sources.expand(files, format.value if format else None, place.settings.s3_endpoint_url)
    plan = rows.Plan(
        batch_id="", tenant=tenant, template=_template(template), matrix=_matrix(matrix), defaults=dict(_pairs(set_))
    )
    if not batch_id:
        if any(source.name == "-" for source in found):
            raise typer.BadParameter("rows from standard input need --batch-id: by it the same rows are known again")
        stem = re.sub(r"[^A-Za-z0-9._-]", "-", Path(found[0].name).name.partition(".")[0])[:40].lstrip("._-") or "batch"
        batch_id = f"{stem}-{event_id('batch', plan.fingerprint(), *(source.name for source in found))[:8]}"
    if not re.fullmatch(JOB_ID_PATTERN, batch_id) or len(batch_id) > 64:
        raise typer.BadParameter(f"--batch-id {batch_id!r}: expected 1 to 64 letters, digits and . _ : -")
    return rows.replace_id(plan, batch_id), found


def _template(path: Path | None) -> Any:
    import json
    import tomllib

    if path is None:
        return None
    try:
        text = path.read_text()
        plain = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (ValueError, UnicodeDecodeError) as exc:
        raise typer.BadParameter(f"--template {path}: {exc}") from None
    if not isinstance(plain, dict):
        raise typer.BadParameter(f"--template {path}: expected an object, a request")
    return plain


def _matrix(given: list[str] | None) -> dict[str, list[Any]]:
    return {name: [_value(part) for part in values.split(",")] for name, values in _split(given, "--matrix")}


def _pairs(given: list[str] | None) -> list[tuple[str, Any]]:
    return [(name, _value(text)) for name, text in _split(given, "--set")]


def _split(given: list[str] | None, option: str) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in given or ()]
    if wrong := next((f"{name}{by}" for name, by, value in pairs if not (name and by and value)), None):
        raise typer.BadParameter(f"{option} {wrong!r}: expected NAME=VALUE")
    return [(name, value) for name, _, value in pairs]


def _value(text: str) -> Any:
    """A number or true/false where the text is one in JSON; else the text."""
    import json

    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text
