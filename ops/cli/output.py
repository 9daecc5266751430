"""Where output goes: data on stdout, progress and errors on stderr. NO_COLOR and pipes get plain text."""

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


PIPE_WIDTH = 200


def data(text: str) -> None:
    """One line of data on stdout, at once (a program may be reading)."""
    print(text, flush=True)


def data_json(value: object) -> None:
    """One JSON object on one line of stdout."""
    import msgspec

    plain: Any = msgspec.to_builtins(value)
    data(json.dumps(plain, ensure_ascii=False))


def say(text: str) -> None:
    """One line for the person, on stderr."""
    print(text, file=sys.stderr, flush=True)


def screen() -> "Console":
    """rich on stderr; it looks at NO_COLOR and at whether stderr is a terminal."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def paper() -> "Console":
    """rich on stdout, for tables that are a command's result; a pipe or file has no width, so there nothing is cut."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
