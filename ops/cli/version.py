"""`reelbus version`."""

from typing import Annotated

import typer

from ops.cli.output import data, data_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(version)


def version(as_json: Annotated[bool, typer.Option("--json", help="As a JSON object.")] = False) -> None:
    """Print the version of reelbus and of what it stands on."""
    import platform
    from importlib import metadata

    versions = {"reelbus": metadata.version("reelbus"), "python": platform.python_version()}
    for package in ("confluent-kafka", "faust-streaming", "torch", "diffusers", "av", "c2pa-python"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    if as_json:
        data_json(versions)
    else:
        for package, text in versions.items():
            data(f"{package} {text}")
