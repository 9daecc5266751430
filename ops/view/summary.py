"""What became of a set of jobs, as a table. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from rich.table import Table
from rich.text import Text

from ops.view.describe import STYLE, chunks, note, waited_s
from ops.view.table import plain_table
from ops.view.units import seconds, size
from schemas.events import JobState
from schemas.request import LANES


@dataclass(frozen=True, slots=True)
class Outcome:
    """A job at its end and what was fetched of it."""

    state: JobState
    title: str
    file: str = ""
    """Path of the video, '' when there is none."""
    size_bytes: int = 0
    faults: tuple[str, ...] = ()
    """What is wrong, one sentence each; empty when all is as it was asked for."""


def outcomes(rows: Sequence[Outcome]) -> Table:
    """One row per job, in the order given."""
    columns = ("job", "lane", "state", "waited", "on device", "chunks", "file", "size")
    table = plain_table(*columns, numbers=("waited", "on device", "size"))
    file_column = table.columns[columns.index("file")]
    file_column.no_wrap, file_column.overflow = (
        False,
        "fold",
    )  # on a narrow terminal a path is folded, numbers are not cut
    for row in rows:
        state, progress = row.state, row.state.progress
        table.add_row(
            row.title, state.lane, Text(state.state, style=STYLE[state.state]),
            seconds(waited_s(state, state.updated_at_ms)),
            seconds(progress.device_s) if progress is not None else "",
            chunks(state), row.file, size(row.size_bytes) if row.file else "",
        )  # fmt: skip
    return table


def reasons(rows: Sequence[Outcome]) -> list[str]:
    """A sentence for every job that ended without a video: 'refused: rejected (prompt_refused): ...'."""
    return [
        f"{row.title}: {row.state.state} ({row.state.reason.code}): {note(row.state)}"
        for row in rows
        if row.state.reason is not None
    ]


def waits(rows: Sequence[Outcome]) -> str:
    """Mean wait per lane: 'express 0.4 s, standard 1.2 s, bulk 31 s'."""
    parts = []
    for lane in LANES:
        of_lane = [row.state.progress for row in rows if row.state.lane == lane]
        times_s = [p.waited_s for p in of_lane if p is not None and p.waited_s is not None]
        if times_s:
            parts.append(f"{lane} {seconds(mean(times_s))}")
    return ", ".join(parts)
