"""`reelbus delete` and `reelbus sweep`: published files are taken away, and those who wait for them are told."""

import time
from typing import Annotated, Any

import typer

from ops.cli.connection import Place, connected
from ops.cli.output import data, say


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (delete, sweep):
        app.command()(connected(command))


def delete(
    place: Place,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Job id, or tenant/job_id.")],
    reason: Annotated[str, typer.Option(help="Told to the caller.")] = "deleted by an operator",
) -> None:
    """Delete the files of a finished job, and say so on its topics."""
    from ops.cli.logs import quiet
    from producers.client import Operator
    from schemas.errors import Fatal

    quiet()
    state = Operator(place.settings).state(job)
    if state is None:
        raise Fatal(f"nothing is known of job {job}; `reelbus watch` shows all jobs")
    if state.state == "deleted":
        raise Fatal(f"job {job} is deleted already")
    take_away(place, [state], "deleted", reason)


def sweep(
    place: Place,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which jobs it would be.")] = False,
) -> None:
    """Delete the files of all jobs whose `expires_at_ms` has passed (setting video_retention_days). Run it daily."""
    from ops import deletion
    from ops.cli.logs import quiet
    from producers.client import Operator

    quiet()
    latest = {state.job: state for state in Operator(place.settings).states(follow=False)}
    states = list(deletion.due(latest.values(), time.time_ns() // 1_000_000))
    if dry_run:
        for state in states:
            data(state.job)
    else:
        take_away(place, states, "expired", "kept as long as was promised")
    say(f"{len(states)} of {len(latest)} known jobs {'would be' if dry_run else 'were'} swept")


def take_away(place: Place, states: list[Any], code: str, message: str) -> None:
    """Delete the files of these jobs, say so with this reason, and print each."""
    from ops import deletion
    from ops.storage.open import open_store
    from schemas.events import Reason

    store, now_ms = open_store(place.settings), time.time_ns() // 1_000_000
    for job in deletion.delete(place.settings, store, states, Reason(code=code, message=message), now_ms):
        data(job)
