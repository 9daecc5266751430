"""`reelbus bench NAME`."""

from typing import Annotated, Any

import typer

from ops.cli.output import data, data_json, paper

BENCHES = {
    "overhead": "ops.bench.overhead:run",
    "mux": "ops.bench.mux:run",
    "ingest": "ops.bench.ingest:run",
    "decisions": "ops.bench.decisions:run",
    "scheduling": "ops.bench.scheduling:run",
    "backlog": "ops.bench.backlog:run",
    "fairness": "ops.bench.fairness:run",
    "estimates": "ops.bench.estimates:run",
    "watermark": "ops.bench.watermark:run",
    "batch-kills": "ops.bench.batch_kills:run",
    "moderation": "ops.bench.moderation:run",
}
"""Name -> module:function; the function takes `quick` and returns the figures (see `bench`)."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(bench)


def bench(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(BENCHES)}.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Short and inexact: shows that it runs.")] = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", metavar="N", min=1, help="Of `backlog`: bulk jobs, instead of a million.")
    ] = None,
) -> None:
    """Measure something on this machine, beside a peer. Exit code 1 when a figure misses its bar.

    The object is {"bench", "figures": [{"name", "value", "unit", "bar", "holds"}], "machine", "peers"}.
    """
    from importlib import import_module

    if name not in BENCHES:
        raise typer.BadParameter(f"no bench {name!r}; benches are {', '.join(BENCHES)}")
    if jobs is not None and name != "backlog":
        raise typer.BadParameter(f"only the bench backlog takes --jobs, not {name}")
    module, _, function = BENCHES[name].partition(":")
    size = {} if jobs is None else {"jobs": jobs}
    result: dict[str, Any] = getattr(import_module(module), function)(quick=quick, **size)
    if as_json:
        data_json(result)
    else:
        _print(result)
    if not all(figure["holds"] for figure in result["figures"]):
        raise typer.Exit(1)


def _print(result: dict[str, Any]) -> None:
    from ops.view.table import plain_table

    table = plain_table("figure", "value", "unit", "bar", "holds", numbers=("value", "bar"))
    for figure in result["figures"]:
        table.add_row(
            figure["name"],
            "not measured" if figure["value"] is None else f"{figure['value']:.3g}",
            figure["unit"],
            str(figure["bar"]),
            "yes" if figure["holds"] else "NO",
        )
    paper().print(table)
    data(f"machine: {_listed(result['machine'])}")
    for peer in result["peers"]:
        data(f"compared: {_listed(peer)}")


def _listed(values: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items()) if isinstance(values, dict) else str(values)
