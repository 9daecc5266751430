"""`reelbus demo`: the main job, on real input, from an empty directory to videos in a folder."""

from pathlib import Path
from typing import Annotated

import typer

from ops.cli.connection import Place, connected

DEFAULT_JOBS = Path("examples") / "jobs.jsonl"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(connected(demo))


def demo(
    place: Place,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Requests, JSON lines; examples/jobs.jsonl if left out.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the videos go.")] = Path("out"),
    workers: Annotated[int, typer.Option(min=1, help="Render workers.")] = 1,
    keep: Annotated[
        bool, typer.Option("--keep", help="Go on with the Kafka data and objects of the last demo.")
    ] = False,
    timeout_s: Annotated[float, typer.Option(help="Give up after so many seconds.")] = 600.0,
) -> None:
    """Run the examples from start to finish: videos land in out/.

    Starts the pipeline, sends the example jobs, shows their progress, fetches and checks the videos, stops everything.
    """
    from ops.cli.demo_run import Demo
    from ops.cli.logs import quiet
    from ops.cli.stack import interrupt_once
    from ops.settings import PACKAGE_ROOT

    quiet()
    interrupt_once()
    chosen = file or PACKAGE_ROOT / DEFAULT_JOBS
    if not chosen.is_file():
        raise typer.BadParameter(f"{chosen}: no such file; name a file of requests, JSON lines")
    run = Demo(place, chosen, out, workers=workers, keep=keep, timeout_s=timeout_s)
    if not run.run():
        raise typer.Exit(1)
