"""`reelbus dlq list`, `show`, `replay`: dead letters, seen and sent again."""

import json
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.connection import Place, connected
from ops.cli.output import data, data_json, paper, say

if TYPE_CHECKING:
    from ops.dead_letters.choice import Filters
    from ops.dead_letters.letter import Letter
    from ops.dead_letters.reading import LetterBox
    from ops.dead_letters.replay import Outcome

Topics = Annotated[
    list[str] | None, typer.Option("--topic", metavar="TOPIC", help="Only of this topic, e.g. jobs.events; repeatable.")
]
Stage = Annotated[str, typer.Option(metavar="STAGE", help="Only what this stage could not use.")]
Code = Annotated[str, typer.Option(metavar="CODE", help="Only with this reason code, e.g. invalid_message.")]
Since = Annotated[str, typer.Option(metavar="WHEN", help="Only since then: 30m, 2h, 7d, or an ISO 8601 moment.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Records that no stage could use: list, show, send again.", no_args_is_help=True)
    group.command("list")(connected(list_))
    group.command("show")(connected(show))
    group.command("replay")(connected(replay))
    app.add_typer(group, name="dlq")


def list_(
    place: Place,
    topic: Topics = None,
    stage: Stage = "",
    code: Code = "",
    since: Since = "",
    limit: Annotated[int, typer.Option(min=0, help="Most letters shown, the newest; 0 shows the counts only.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Count dead letters by topic and reason, and show the newest. With --json letters only; counts with --limit 0."""
    from ops.cli.logs import quiet
    from ops.dead_letters import choice, shown

    quiet()
    filters, prefix = _filters(stage, code, since), place.settings.prefix
    with _box(place, topic, filters) as box:
        letters = [letter for letter in box.letters() if filters.match(letter)]
    counted = choice.counts(letters, prefix)
    rows = [shown.line(letter, prefix) for letter in choice.newest_first(letters)[:limit]]
    if as_json:
        for one in rows if limit else counted:
            data_json(one)
        return
    if counted:
        counts = [[c.topic, c.stage, c.code, str(c.letters), str(c.replayed)] for c in counted]
        _table(("topic", "stage", "code", "letters", "replayed"), counts)
    if rows:
        cells = [[shown.when(r["at_ms"]), r["place"], r["state"], r["key"] or "", r["message"]] for r in rows]
        _table(("at", "letter", "state", "key", "message"), cells)
    say(f"{len(letters)} dead letters, {sum(not letter.replays for letter in letters)} of them not replayed")


def show(
    place: Place,
    letter: Annotated[str, typer.Argument(metavar="LETTER", help="TOPIC:PARTITION:OFFSET as `list` prints it.")],
    out: Annotated[Path | None, typer.Option(help="Write the value's bytes, unchanged, to this new file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one letter: headers, value as far as it can be read, what was replayed. Secrets are not shown."""
    from ops.cli.logs import quiet
    from ops.dead_letters import shown

    quiet()
    found = _letter(place, letter)
    if out is not None:
        _write(out, found.record.value or b"")
    said = shown.whole_letter(found, place.settings.prefix)
    if as_json:
        data_json(said)
        return
    for name in ("place", "topic", "stage", "code", "message", "origin", "key", "state", "replays", "attempt"):
        data(f"{name + ':':11}{said[name]}")
    data(f"{'at:':11}{shown.when(found.record.timestamp_ms)}")
    for step in said["steps"]:
        data(f"{step['kind'] + ':':11}{shown.when(step['at_ms'])} by run {step['run']}")
    for name, value in said["headers"]:
        data(f"{'header:':11}{name}: {value}")
    data(f"{'value:':11}{said['value_bytes']} bytes, sha256 {said['value_sha256']}, read as {said['value_form']}")
    data(json.dumps(said["value"], indent=2, ensure_ascii=False))


def replay(
    place: Place,
    letter: Annotated[
        str, typer.Argument(metavar="[LETTER]", help="TOPIC:PARTITION:OFFSET; without it all that match.")
    ] = "",
    topic: Topics = None,
    stage: Stage = "",
    code: Code = "",
    since: Since = "",
    everything: Annotated[bool, typer.Option("--all", help="All letters of all topics.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also what was replayed before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    rate_per_s: Annotated[float, typer.Option(min=0.1, max=1000, help="Most records sent per second.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Send letters to the topics that they came from: key, value and own headers unchanged.

    It is remembered: no letter is sent twice without --again, also when this is interrupted and run again.
    """
    from ops.cli.logs import quiet
    from ops.dead_letters.replay import Outcome, Replayer, obstacle

    if bool(letter) + bool(topic or stage or code or since) + everything != 1:
        raise typer.BadParameter("give a LETTER, or filters, or --all: one of the three")
    quiet()
    filters, prefix = _filters(stage, code, since), place.settings.prefix
    with _box(place, [letter.partition(":")[0]] if letter else topic, filters) as box:
        wanted = [_in(box, place, letter)] if letter else [one for one in box.letters() if filters.match(one)]
        obstacles = [obstacle(one, prefix, again) for one in wanted]
        if dry_run:
            for one, why in zip(wanted, obstacles, strict=True):
                _report(Outcome(_place(one), "skipped", why) if why else Outcome(_place(one), "sent"), as_json)
            say(f"{obstacles.count('')} of {len(wanted)} letters would be sent")
            return
        if "" in obstacles and not yes:
            _confirm([one for one, why in zip(wanted, obstacles, strict=True) if not why], prefix)
        counted = {"sent": 0, "found": 0, "skipped": 0}
        for outcome in Replayer(place.settings, box, secrets.token_hex(8), rate_per_s).replay(wanted, again):
            counted[outcome.what] += 1
            _report(outcome, as_json)
    say(", ".join(f"{count} {what}" for what, count in counted.items()))


def _filters(stage: str, code: str, since: str) -> "Filters":
    from ops.dead_letters.choice import Filters, moment

    return Filters(stage, code, moment(since, time.time_ns() // 1_000_000) if since else 0)


def _box(place: Place, topics: Sequence[str] | None, filters: "Filters") -> "LetterBox":
    from ops.dead_letters.choice import TOPICS, topic_named
    from ops.dead_letters.reading import LetterBox

    named = [topic_named(text, place.settings.prefix) for text in topics or ()]
    return LetterBox(place.settings, named or TOPICS, filters.since_ms)


def _in(box: "LetterBox", place: Place, text: str) -> "Letter":
    from ops.dead_letters.choice import place_named
    from schemas.topics import DeadLetters

    where = place_named(text, place.settings.prefix)
    return box.letter(DeadLetters(where.of).name(place.settings.prefix), where.partition, where.offset)


def _letter(place: Place, text: str) -> "Letter":
    from ops.dead_letters.choice import Filters

    with _box(place, [text.partition(":")[0]], Filters()) as box:
        return _in(box, place, text)


def _place(letter: "Letter") -> str:
    from ops.dead_letters.shown import place_of

    return place_of(letter)


def _confirm(letters: Sequence["Letter"], prefix: str) -> None:
    from ops.dead_letters.choice import counts

    for count in counts(letters, prefix):
        say(f"{count.letters} letters to {count.topic} ({count.stage}, {count.code})")
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody is here to be asked: --yes sends them")
    typer.confirm(f"send {len(letters)} letters again?", abort=True, err=True)


def _report(outcome: "Outcome", as_json: bool) -> None:
    if as_json:
        data_json(outcome)
    else:
        data(" ".join(part for part in (outcome.what, outcome.place, outcome.why, outcome.to) if part))


def _write(out: Path, value: bytes) -> None:
    from schemas.errors import Fatal

    try:
        with out.open("xb") as file:
            file.write(value)
    except FileExistsError:
        raise Fatal(f"{out} exists; it is not written over") from None


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Cells are shown as they are: what looks like markup is a stranger's text."""
    from rich.text import Text

    from ops.view.table import plain_table

    table = plain_table(*columns, numbers=("letters", "replayed"))
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    paper().print(table)
