"""`reelbus batch`: many jobs from files of rows. The options that say which rows, and how they become jobs."""

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.connection import Place, connected

if TYPE_CHECKING:
    from producers.batch.plan import Plan
    from producers.batch.sources import Source

REFUSED_ROWS = 1
MAX_BATCH_ID = 64


class FormatName(StrEnum):
    """Format of the inputs."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


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
Batch = Annotated[str, typer.Argument(metavar="BATCH", help="Name of the batch.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    from ops.cli import batch_results, batch_submit, batch_validate

    group = typer.Typer(help="Many jobs from files of rows: JSONL, CSV, Parquet, OpenAI Batch.", no_args_is_help=True)
    group.command()(connected(batch_validate.validate))
    group.command()(connected(batch_submit.submit))
    group.command()(connected(batch_results.show))
    group.command("list")(connected(batch_results.list_))
    group.command()(connected(batch_results.export))
    group.command()(connected(batch_results.cancel))
    app.add_typer(group, name="batch")


def planned(
    place: Place, files: list[str], format: FormatName | None, batch_id: str, template: Path | None,
    matrix: list[str] | None, set_: list[str] | None, tenant: str,
) -> "tuple[Plan, list[Source]]":  # fmt: skip
    """What the options mean. Raises InvalidMessage for files that are not there, typer.BadParameter for options."""
    from producers.batch import plan as plans
    from producers.batch import sources
    from schemas.ids import JOB_ID_PATTERN, TENANT_PATTERN, event_id

    if not re.fullmatch(TENANT_PATTERN, tenant):
        raise typer.BadParameter(f"--tenant {tenant!r}: expected 1 to 63 lower-case letters, digits and -")
    found = sources.expand(files, format.value if format else None, place.settings.s3_endpoint_url)
    plan = plans.Plan(
        batch_id="", tenant=tenant, template=_template(template), matrix=_matrix(matrix), defaults=dict(_pairs(set_))
    )
    if not batch_id:
        if any(source.name == sources.STDIN for source in found):
            raise typer.BadParameter("rows from standard input need --batch-id: by it the same rows are known again")
        stem = re.sub(r"[^A-Za-z0-9._-]", "-", Path(found[0].name).name.partition(".")[0])[:40].lstrip("._-") or "batch"
        batch_id = f"{stem}-{event_id('batch', plan.fingerprint(), *(source.name for source in found))[:8]}"
    if not re.fullmatch(JOB_ID_PATTERN, batch_id) or len(batch_id) > MAX_BATCH_ID:
        right = f"1 to {MAX_BATCH_ID} letters, digits and . _ : - (a letter or digit first)"
        raise typer.BadParameter(f"--batch-id {batch_id!r}: expected {right}")
    return plan.named(batch_id), found


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
    return {name: [_value(name, part) for part in values.split(",")] for name, values in _split(given, "--matrix")}


def _pairs(given: list[str] | None) -> list[tuple[str, Any]]:
    return [(name, _value(name, text)) for name, text in _split(given, "--set")]


def _split(given: list[str] | None, option: str) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in given or ()]
    if wrong := next((f"{name}{by}" for name, by, value in pairs if not (name and by and value)), None):
        raise typer.BadParameter(f"{option} {wrong!r}: expected NAME=VALUE")
    names = [name for name, _, _ in pairs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise typer.BadParameter(f"{option} {twice}: given twice")
    return [(name, value) for name, _, value in pairs]


def _value(name: str, text: str) -> Any:
    """A number or true/false where the text is one in JSON and the contract does not want text there; else the text."""
    import json

    from msgspec.inspect import StrType

    from schemas import shapes

    path: shapes.Path = tuple(part for part in name.split(".") if part != "shots")
    if any(isinstance(shapes.type_at(place), StrType) for place in (path, ("shots", 0, *path))):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text
