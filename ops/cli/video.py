"""`reelbus verify FILE`: is this one of our videos, and whose?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.output import data, data_json, say

if TYPE_CHECKING:
    from ops.verify import Verification


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(verify)


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A video, thumbnail or contact sheet.")],
    job: Annotated[str, typer.Option(metavar="JOB", help="Also check that this job made it.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="All that was found as one JSON object.")] = False,
) -> None:
    """Read the marks of a finished video.

    Exit code 0 when the invisible mark proves that reelbus made it (with --job: that this job made it), else 1.
    """
    from ops import verify as verifier
    from producers.client.core import key_of

    try:
        found = verifier.verify(file)
    except verifier.NotVerifiable as exc:
        say(f"reelbus: {exc}")
        raise typer.Exit(1) from None
    tenant, _, job_id = key_of(job).partition("/")
    as_said = found.belongs_to(tenant, job_id) if job else found.ok
    if as_json:
        data_json(found)
    else:
        _print(found, job, as_said)
    if not as_said:
        raise typer.Exit(1)


def _print(found: "Verification", job: str, as_said: bool) -> None:
    motion = f", {found.frames} frames at {found.fps:g} fps, {found.duration_s:g} s" if found.fps else ""
    data(f"file            {found.container}, {found.codec}, {found.width_px}x{found.height_px}{motion}")
    data(f"visible mark    {found.label}")
    if found.ok:
        data(f"invisible mark  made by reelbus, job uid starts with {found.mark.job_prefix}")
    else:
        data("invisible mark  none that can be read")
    if found.aigc is not None:
        data(f"metadata label  {found.aigc}")
    if job:
        data(f"job             {job} {'made it' if as_said else 'did NOT make it, or the mark is lost'}")
