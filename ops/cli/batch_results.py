"""`reelbus batch show`, `list`, `export` and `cancel`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.batch import Batch
from ops.cli.connection import Place
from ops.cli.output import data, data_json, paper, say

if TYPE_CHECKING:
    from producers.batch.standing import Standing, Summary


def show(
    place: Place, batch: Batch, as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False
) -> None:
    """Say where a batch stands: jobs by state, device time."""
    from ops.cli.logs import quiet

    quiet()
    found = _summaries(place, batch).get(batch)
    if found is None:
        raise _unknown(batch)
    if as_json:
        data_json(found.plain())
        return
    sent = f"{found.sending.sent:,} sent, " if found.sending else ""
    states = ", ".join(f"{count:,} {state}" for state, count in found.states.most_common())
    data(f"{batch}: {found.status}, {sent}{found.total:,} known: {states}; {found.device_s:,.1f} s on devices")


def list_(
    place: Place, as_json: Annotated[bool, typer.Option("--json", help="One JSON object per batch.")] = False
) -> None:
    """All batches that the pipeline knows of."""
    from ops.cli.logs import quiet
    from ops.view.table import plain_table

    quiet()
    found = _summaries(place).values()
    if as_json:
        for batch in found:
            data_json(batch.plain())
        return
    numbers = ("jobs", "unfinished", "completed")
    table = plain_table("batch", "status", *numbers, numbers=numbers)
    for batch in found:
        completed = f"{batch.states['completed']:,}"
        table.add_row(batch.batch_id, batch.status, f"{batch.total:,}", f"{batch.unfinished:,}", completed)
    paper().print(table)


def _summaries(place: Place, batch_id: str = "") -> "dict[str, Summary]":
    from collections import Counter

    from producers.batch.files import load, path_of
    from producers.batch.standing import Summary, newest, states, summaries

    found = summaries(newest(states(place.settings), batch_id).values())
    if batch_id and batch_id not in found and load(path_of(place.settings.data_dir, batch_id)) is not None:
        found[batch_id] = Summary(batch_id, Counter())
    for name, batch in found.items():
        batch.sending = load(path_of(place.settings.data_dir, name))
    return found


def export(
    place: Place,
    batch: Batch,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Ends in .jsonl or .parquet.")],
    finished: Annotated[bool, typer.Option("--finished", help="Only jobs that have ended.")] = False,
) -> None:
    """Write one row per job of a batch, with stable columns."""
    from ops.cli.logs import quiet
    from producers.batch.results import row_of, write
    from producers.batch.standing import whole

    if out.suffix not in (".jsonl", ".parquet"):
        raise typer.BadParameter(f"--out {out}: expected a name that ends in .jsonl or .parquet")
    quiet()
    known = {job: at for job, at in _known(place, batch).items() if at.ended or not finished}
    say(f"{write(map(row_of, whole(place.settings, known)), out):,} rows in {out}")


def cancel(
    place: Place,
    batch: Batch,
    reason: Annotated[str, typer.Option(help="Kept with the jobs' results.")] = "the batch was cancelled",
) -> None:
    """Cancel every job of a batch that has not ended, also those that wait to be read. End a running submit first."""
    from itertools import chain

    from ops.cli.logs import quiet
    from producers.batch.standing import newest, requested, states
    from producers.client import Operator

    quiet()
    known = newest(states(place.settings), batch)
    going_on = (job for job, at in known.items() if not at.ended)
    with Operator(place.settings) as operator:
        asked = operator.cancel_many(chain(going_on, requested(place.settings, batch, known)), reason)
    if not known and not asked:
        raise _unknown(batch)
    say(f"asked to cancel {asked:,} jobs; next: reelbus batch show {batch}")


def _known(place: Place, batch: str) -> "dict[str, Standing]":
    from producers.batch.standing import newest, states

    found = newest(states(place.settings), batch)
    if not found:
        raise _unknown(batch)
    return found


def _unknown(batch: str) -> Exception:
    from schemas.errors import Fatal

    return Fatal(f"nothing is known of batch {batch}; `reelbus batch list` shows all batches")
