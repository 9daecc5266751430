"""All that is generated from topics and schemas for others, as files. `python -m ops.exports.files` writes them."""

from collections.abc import Callable
from pathlib import Path

from ops import asyncapi
from ops.exports import asyncapi_page, connect, flink, spark
from ops.exports.tables import DEFAULT, Target
from ops.settings import PACKAGE_ROOT

Files = dict[str, str]


def asyncapi_files(target: Target = DEFAULT) -> Files:
    """The document, and the page made from it."""
    return {
        "asyncapi.json": asyncapi.text(target.prefix),
        "asyncapi.html": asyncapi_page.page(asyncapi.document(target.prefix)),
    }


KINDS: dict[str, tuple[str, Callable[[Target], Files]]] = {
    "asyncapi": ("docs/reference", asyncapi_files),
    "connect": ("ops/deploy/connect", connect.files),
    "flink": ("ops/deploy/flink", flink.files),
    "spark": ("ops/deploy/spark", spark.files),
}
"""Kind -> folder of the committed files, and what makes them."""


def committed() -> dict[Path, str]:
    """Path -> text of every generated file of the repository."""
    return {
        PACKAGE_ROOT / folder / name: text
        for folder, made in KINDS.values()
        for name, text in made(DEFAULT).items()
    }  # fmt: skip


def write(files: dict[Path, str]) -> list[Path]:
    """Write what is new or differs; returns those paths."""
    changed = [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")
    return changed


if __name__ == "__main__":
    for path in write(committed()):
        print(path.relative_to(PACKAGE_ROOT))
