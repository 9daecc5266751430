"""`reelbus redo`: the same video once more, but for a shot or a chunk of it."""

from pathlib import Path
from typing import Annotated

import typer

from ops.cli.connection import Place, connected
from ops.cli.output import data, say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(connected(redo))


def redo(
    place: Place,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Completed job: its id, or tenant/job_id.")],
    shot: Annotated[int, typer.Option(min=0, help="0-based index of the shot.")],
    chunk: Annotated[
        int | None, typer.Option(min=0, help="0-based index of a chunk within it; all if left out.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**31 - 1, help="The new seed; derived if left out.")] = None,
    new_id: Annotated[str, typer.Option("--id", help="Id of the new job; made from the old one if left out.")] = "",
    request: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The job's request, if Kafka has it no more.")
    ] = None,
) -> None:
    """Render a shot or a chunk of a completed job again, with a new seed; everything else is reused. A new job."""
    from ops.cli.logs import quiet
    from producers.client import Operator
    from schemas.codec import decode
    from schemas.request import JobRequest

    quiet()
    original = None if request is None else decode(JobRequest, request.read_bytes())
    with Operator(place.settings) as client:
        name = client.redo(job, shot, chunk, seed=seed, job_id=new_id, request=original)
    data(name)
    say(f"next: reelbus watch {name}")
