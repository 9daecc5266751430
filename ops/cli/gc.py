"""`reelbus gc` and `reelbus gc lifecycle`: objects that no job needs any more."""

import logging
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.connection import Connection, Place, connected, taking_options
from ops.cli.output import data, data_json, say
from schemas.errors import Fatal, PipelineError

if TYPE_CHECKING:
    from ops.garbage.collecting import Report
    from ops.storage.s3 import S3Store

log = logging.getLogger(__name__)

AsJson = Annotated[bool, typer.Option("--json", help="JSON objects, one per line.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Delete objects that no job needs any more.")
    group.callback(invoke_without_command=True)(taking_options(gc))
    rules = typer.Typer(help="Rules by which an S3 bucket tidies itself, as a backstop.", no_args_is_help=True)
    rules.command("show")(connected(show))
    rules.command("apply")(connected(apply))
    group.add_typer(rules, name="lifecycle")
    app.add_typer(group, name="gc")


def gc(
    context: typer.Context,
    connection: Connection,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    every: Annotated[int, typer.Option(min=0, metavar="S", help="Go on, once every S seconds; 0: once.")] = 0,
    first_after: Annotated[int, typer.Option(min=0, metavar="S", help="Wait before the first collection.")] = 0,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Make this installation the one that keeps the store tidy.")
    ] = False,
    unknown_too: Annotated[
        bool, typer.Option("--unknown-too", help="Delete files of unknown jobs also when they are most of the store.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete chunks, inputs and videos that no job needs any more, and scratch that killed processes left.

    Nothing that a live job names, nothing young. Published videos go when the time that was promised is over.
    """
    given = connection.over(context.obj or Connection())
    if context.invoked_subcommand is not None:
        context.obj = given
        return
    from ops import schema_registry
    from ops.cli.logs import quiet, set_up

    place = Place(given.settings(), given)
    _check(place)
    schema_registry.install(place.settings)
    if every or first_after:
        set_up("info")
        _loop(place, every, first_after, dry_run=dry_run, take_over=take_over, unknown_too=unknown_too)
    else:
        quiet()
        report = _once(place, not as_json, dry_run=dry_run, take_over=take_over, unknown_too=unknown_too)
        if as_json:
            data_json(report)
        say(_sentence(report))


def _check(place: Place) -> None:
    from ops.settings import SettingsError

    for name in ("chunk_retention_h", "input_retention_h"):
        if getattr(place.settings, name) < 1:
            raise SettingsError(f"{name} must be at least 1: what is just being made must not be deleted")


def _once(place: Place, listed: bool, **how: bool) -> "Report":
    from ops.garbage.collecting import collect
    from ops.storage.open import open_store

    def told(key: str, why: str) -> None:
        if listed:
            data(f"{why} {key}")

    return collect(place.settings, open_store(place.settings), time.time_ns() // 1_000_000, told=told, **how)


def _loop(place: Place, every_s: int, first_after_s: int, **how: Any) -> None:
    """Until SIGTERM. A collection that fails is logged, and the next one tries again: nothing depends on it."""
    from ops.bus.process import stop_event

    stop = stop_event()
    wait_s = first_after_s
    while not stop.wait(wait_s):
        try:
            log.info("gc: %s", _sentence(_once(place, False, **how)))
        except PipelineError as exc:
            log.warning("gc: %s", exc)
        if not every_s:
            return
        wait_s = every_s


def _sentence(report: "Report") -> str:
    what = ", ".join(f"{count} {why}" for why, count in sorted(report.deleted.items())) or "nothing"
    parts = [f"{'would delete' if report.dry_run else 'deleted'} {what} of {report.seen} objects"]
    parts.append(f"{report.freed_bytes / 1e6:.1f} MB")
    if report.expired_jobs:
        parts.append(f"files of {report.expired_jobs} jobs whose time is over")
    if report.spared:
        parts.append(f"{report.spared} old ones are needed by jobs")
    if report.unknown_videos_left:
        parts.append(
            f"{report.unknown_videos_left} files of unknown jobs are most of what is there and stay: is this the right "
            "--prefix? --unknown-too deletes them"
        )
    if report.scratch_folders:
        parts.append(f"{report.scratch_folders} scratch folders of processes that are gone")
    return "; ".join(parts)


def show(place: Place, as_json: AsJson = False) -> None:
    """Print the bucket's lifecycle rules, and which of ours are missing. Exit code 1 when one is."""
    from ops.garbage import bucket, lifecycle

    store = _s3(place)
    there = bucket.rules(store)
    lacking = lifecycle.missing(there, bucket.wanted(place.settings, store))
    for rule in there:
        data_json(rule) if as_json else data(lifecycle.sentence(rule))
    for rule in lacking:
        say(f"missing, or different: {lifecycle.sentence(rule)}")
    if lacking:
        raise typer.Exit(1)


def apply(place: Place, as_json: AsJson = False) -> None:
    """Set our lifecycle rules in the bucket; rules of others stay as they are."""
    from ops.garbage import bucket, lifecycle

    store = _s3(place)
    changed = bucket.apply(store, bucket.wanted(place.settings, store))
    for rule in changed:
        data_json(rule) if as_json else data(lifecycle.sentence(rule))
    say(f"{len(changed)} rules set" if changed else "nothing to change")


def _s3(place: Place) -> "S3Store":
    from ops.storage.open import open_store

    if not place.settings.store.startswith("s3://"):
        raise Fatal(
            f"the store {place.settings.store!r} is a directory: it has no lifecycle rules, `reelbus gc` does it"
        )
    store: Any = open_store(place.settings)
    found: S3Store = store
    return found
