"""`reelbus submit`, `watch`, `get`, `cancel`: what a sender of jobs does."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.connection import Place, connected
from ops.cli.output import data, data_json, say

if TYPE_CHECKING:
    from producers.client import Operator

ENDED_WITHOUT_VIDEO = 3


class LaneName(StrEnum):
    """Class of service."""

    EXPRESS = "express"
    STANDARD = "standard"
    BULK = "bulk"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (submit, watch, get, cancel):
        app.command()(connected(command))


def submit(
    place: Place,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Requests: a JSON object, a JSON list, or JSON lines; - for stdin.")
    ] = "",
    prompt: Annotated[str, typer.Option(help="One shot with this prompt, instead of a file.")] = "",
    duration_s: Annotated[float | None, typer.Option(help="Length of that shot in seconds; 2 if left out.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What should not be seen.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed; without it one is derived from the job id.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Size in pixels, e.g. 640x360.")] = None,
    fps: Annotated[int | None, typer.Option(help="Frames per second; 24 if left out.")] = None,
    lane: Annotated[LaneName | None, typer.Option(help="Class of service; standard if left out.")] = None,
    model: Annotated[str | None, typer.Option(help="Model, from the registry; shapes if left out.")] = None,
    tenant: Annotated[str | None, typer.Option(help="On whose account.")] = None,
    job_id: Annotated[str | None, typer.Option(help="Your own id: sending it again changes nothing.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end of all of them, and show progress.")] = False,
    timeout_s: Annotated[float, typer.Option(help="With --wait: give up after so many seconds.")] = 600.0,
) -> None:
    """Publish one job (--prompt) or many (FILE); print their ids."""
    from ops.cli.logs import quiet
    from producers.client import Operator

    shot = {"duration_s": duration_s, "negative_prompt": negative_prompt, "seed": seed}
    job = {"lane": lane and lane.value, "model": model, "tenant": tenant, "job_id": job_id}
    output = {**size_of(size), "fps": fps}
    given = {k: v for part in (shot, job, output) for k, v in part.items() if v is not None}
    if bool(file) == bool(prompt):
        raise typer.BadParameter("give either a FILE or --prompt TEXT")
    if file and given:
        raise typer.BadParameter(f"{', '.join(given)}: goes with --prompt; in a FILE it is a field of the request")
    quiet()
    names: list[str] = []
    with ExitStack() as stack, Operator(place.settings) as client:
        requests = from_file(file, stack) if file else iter([one_shot(prompt, shot, job, output)])
        for name in client.submit_many(requests):
            names.append(name)
            data(name)
    say(f"submitted {len(names)} {'job' if len(names) == 1 else 'jobs'} to {place.settings.bootstrap_servers}")
    if wait:
        _watch_to_end(place, names, timeout_s=timeout_s)
    elif names:
        say(f"next: reelbus watch {names[0]}" if len(names) == 1 else "next: reelbus watch")


def from_file(file: str, stack: ExitStack) -> Iterator[Any]:
    """Requests of a file or of standard input, closed with `stack`."""
    from producers.client.core import new_job_id, read_requests

    if file == "-":
        return read_requests(sys.stdin, new_job_id)
    return read_requests(stack.enter_context(open(file, encoding="utf-8")), new_job_id)


def one_shot(prompt: str, shot: dict[str, Any], job: dict[str, Any], output: dict[str, Any]) -> Any:
    """The request that options describe; what is None is left out."""
    from producers.client.core import checked, new_job_id

    request = {k: v for k, v in job.items() if v is not None}
    request["shots"] = [{"prompt": prompt, "duration_s": 2.0, **{k: v for k, v in shot.items() if v is not None}}]
    request["output"] = {k: v for k, v in output.items() if v is not None}
    return checked(request, new_job_id)


def size_of(text: str | None) -> dict[str, int]:
    """Of --size."""
    if text is None:
        return {}
    width, by, height = text.lower().partition("x")
    if not (by and width.isdecimal() and height.isdecimal()):
        raise typer.BadParameter(f"--size {text!r}: expected WIDTHxHEIGHT in pixels, e.g. 640x360")
    return {"width_px": int(width), "height_px": int(height)}


def watch(
    place: Place,
    jobs: Annotated[list[str] | None, typer.Argument(metavar="JOB", help="Only these, until they end.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every change as one JSON line on stdout.")] = False,
    timeout_s: Annotated[float | None, typer.Option(help="With JOB: give up after so many seconds.")] = None,
) -> None:
    """Show lanes, workers and jobs as they change.

    Until Ctrl-C, or until the named jobs have ended; exit code 3 when one of them ended without a video.
    """
    from ops.cli.logs import quiet

    quiet()
    if jobs:
        _watch_to_end(place, jobs, as_json=as_json, timeout_s=timeout_s)
        return
    if timeout_s is not None:
        raise typer.BadParameter("--timeout-s goes with JOB")
    from ops.bus.process import stop_event
    from ops.cli.watching import Follower

    stop = stop_event()
    Follower(place.settings, on_state=data_json if as_json else None).follow(stop.is_set, show=not as_json)


def _watch_to_end(place: Place, jobs: list[str], *, as_json: bool = False, timeout_s: float | None = None) -> None:
    """Show jobs until all have ended; exit code 3 when one ended without a video, 1 when they had not ended in time."""
    import time

    from ops.bus.process import stop_event
    from ops.cli.watching import Follower
    from producers.client.core import key_of, name_of
    from schemas.lifecycle import TERMINAL

    keys = frozenset(key_of(job) for job in jobs)
    stop = stop_event()
    until_s = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    follower = Follower(place.settings, wanted=keys, on_state=data_json if as_json else None)

    def over() -> bool:
        return follower.finished() or stop.is_set() or time.monotonic() >= until_s

    follower.follow(over, show=not as_json)
    if stop.is_set():
        raise typer.Exit(130)
    if not follower.finished():
        states = {key: follower.state.jobs[key].state if key in follower.state.jobs else "not known" for key in keys}
        left = ", ".join(f"{name_of(key)} is {state}" for key, state in states.items() if state not in TERMINAL)
        say(f"reelbus: after {timeout_s:g} s {left}")
        raise typer.Exit(1)
    if any(follower.state.jobs[key].state != "completed" for key in keys):
        raise typer.Exit(ENDED_WITHOUT_VIDEO)


def get(
    place: Place,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Job id, or tenant/job_id.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Download video, thumbnail, sheet.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The state as one JSON object.")] = False,
) -> None:
    """Say where a job stands; with --out fetch what it made. Exit code 3 when it ended without a video."""
    from ops.cli.logs import quiet
    from ops.view.describe import chunks, note, queue
    from producers.client import Operator
    from schemas.errors import Fatal
    from schemas.lifecycle import TERMINAL

    quiet()
    state = Operator(place.settings).state(job)
    if state is None:
        raise Fatal(f"nothing is known of job {job}; `reelbus watch` shows all jobs")
    if as_json:
        data_json(state)
    elif out is None or state.video is None:
        about = [state.state, queue(state), f"chunks {chunks(state)}" if chunks(state) else "", note(state)]
        data(", ".join(part for part in about if part))
    if out is not None:
        _fetch(place, job, state, out, print_paths=not as_json)
    if state.state in TERMINAL and state.state != "completed":
        raise typer.Exit(ENDED_WITHOUT_VIDEO)


def _fetch(place: Place, job: str, state: Any, out: Path, print_paths: bool) -> None:
    from ops.cli.downloads import download
    from ops.storage.open import open_store
    from schemas.lifecycle import TERMINAL

    if state.video is None:
        say(f"reelbus: job {job} is {state.state}: there is no video to fetch")
        if state.state not in TERMINAL:
            raise typer.Exit(1)
        return
    files = download(open_store(place.settings), state, out)
    for path in files.paths:
        (data if print_paths else say)(str(path))
    say(f"next: reelbus verify {files.video} --job {job}")


def cancel(
    place: Place,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Job id, or tenant/job_id.")],
    reason: Annotated[str, typer.Option(help="Kept with the job's result.")] = "",
) -> None:
    """Cancel a job; it stops at the next denoise step."""
    send_order(place, job, "cancel", lambda client: client.cancel(job, reason), then="watch")


def send_order(place: Place, job: str, what: str, send: "Callable[[Operator], None]", then: str = "get") -> None:
    """Send one order for a job that is known and has not ended. then: the command that shows what comes of it."""
    from ops.cli.logs import quiet
    from producers.client import Operator
    from schemas.errors import Fatal
    from schemas.lifecycle import TERMINAL

    quiet()
    with Operator(place.settings) as client:
        state = client.state(job)
        if state is None:
            raise Fatal(f"nothing is known of job {job}; `reelbus watch` shows all jobs")
        if state.state in TERMINAL:
            raise Fatal(f"job {job} is {state.state} already")
        send(client)
    say(f"asked to {what} {job}; next: reelbus {then} {job}")
