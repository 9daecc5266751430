"""`reelbus batch validate`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from ops.cli.output import data, data_json, say

if TYPE_CHECKING:
    from producers.batch.estimate import Estimate
    from producers.batch.files import ErrorFile
    from producers.batch.plan import Plan
    from producers.batch.sources import Source


def validate(
    place: Place,
    files: Files,
    format: FormatOption = None,
    batch_id: BatchId = "",
    template: Template = None,
    matrix: Matrix = None,
    set_: SetOption = None,
    tenant: Tenant = "default",
    errors: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where wrong rows are told; BATCH.wrong.jsonl.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="For the estimate of the time.")] = 1,
    price: Annotated[
        float | None, typer.Option("--price-per-hour", min=0, help="Of a device; for the estimate of the cost.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The outcome as one JSON object.")] = False,
) -> None:
    """Check every row as the pipeline would, and estimate cost and time. Sends nothing. Exit code 1 for wrong rows.

    Models, limits and policies are those of the settings here; who may send is for the pipeline to judge.
    """
    from producers.batch.estimate import Estimate
    from producers.batch.files import ErrorFile

    plan, sources = planned(place, files, format, batch_id, template, matrix, set_, tenant)
    report = ErrorFile(errors or Path(f"{plan.batch_id}.wrong.jsonl"))
    estimate = Estimate()
    try:
        _check_all(place, plan, sources, report, estimate)
    finally:
        report.close()
    device_s, wall_s = round(estimate.device_s, 3), round(estimate.wall_s(workers), 3)
    cost = None if price is None else round(estimate.device_s / 3600 * price, 2)
    if as_json:
        data_json({
            "batch_id": plan.batch_id, "jobs": estimate.jobs, "wrong": report.count, "review": estimate.in_review,
            "video_s": round(estimate.seconds, 3), "chunks": estimate.chunks, "device_s": device_s,
            "cost": cost, "workers": workers, "wall_s": wall_s, "lanes": dict(estimate.lanes),
            "errors": str(report.path) if report.count else "",
        })  # fmt: skip
    else:
        _tell(estimate, wall_s, workers, cost)
    if report.count:
        say(f"{report.count:,} jobs cannot be sent; see {report.path}")
        raise typer.Exit(REFUSED_ROWS)
    say("nothing is wrong; next: the same with `submit` instead of `validate`")


def _check_all(
    place: Place, plan: "Plan", sources: "list[Source]", report: "ErrorFile", estimate: "Estimate"
) -> None:  # fmt: skip
    from msgspec.structs import replace

    from ops.cli.batch_bar import watched
    from producers.batch.checking import check_all
    from stream_processors.moderate.core import examine
    from stream_processors.moderate.shell import load_rules

    rules, now_ms = load_rules(place.settings, semantic=False), time.time_ns() // 1_000_000

    def judge(request: Any) -> bool:
        # Whether webhooks are signed is not known here: that is a setting of the pipeline's machines.
        return bool(examine(replace(request, webhook=None), now_ms, rules))

    steps = check_all(plan, sources, report, judge, rules.offer.models, estimate, place.settings.s3_endpoint_url)
    for _ in watched(steps, lambda: estimate.jobs + report.count, sources):
        pass


def _tell(estimate: "Estimate", wall_s: float, workers: int, cost: float | None) -> None:
    from ops.view.units import count, seconds

    data(f"{estimate.jobs:,} jobs, {seconds(estimate.seconds)} of video, {estimate.chunks:,} chunks")
    price = "" if cost is None else f" for {cost:,.2f}"
    used = f"about {seconds(estimate.device_s)} on a device{price}"
    data(f"{used}; {seconds(wall_s)} with {count(workers, 'worker')} and nothing else to do")
    if estimate.in_review:
        data(f"{estimate.in_review:,} of them wait until a person has read their texts")
