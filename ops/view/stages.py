"""The processes of a pipeline at a glance. Pure."""

from collections.abc import Sequence
from typing import Protocol

from rich.text import Text

STYLE = {"running": "green", "waiting": "yellow", "stopped": "red"}


class Process(Protocol):
    """What is shown of one process of a stage."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str:
        """running, waiting (it ended and is started again soon) or stopped."""

    @property
    def restarts(self) -> int: ...


def stages(processes: Sequence[Process]) -> Text:
    """'stages  moderate · split · render (waiting, restarted 2 times)': green runs, yellow waits, red is stopped."""
    text = Text("stages  ", style="bold")
    for number, process in enumerate(processes):
        text.append(" · " if number else "", style="dim")
        text.append(described(process), style=STYLE.get(process.state, ""))
    return text


def described(process: Process) -> str:
    """'mux', 'render (waiting, restarted once)'."""
    notes = [] if process.state == "running" else [process.state]
    if process.restarts:
        notes.append("restarted once" if process.restarts == 1 else f"restarted {process.restarts} times")
    return f"{process.name} ({', '.join(notes)})" if notes else process.name
