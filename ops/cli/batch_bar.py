"""Progress of a batch on stderr: jobs, rate, and the time left where the sizes of the inputs tell it."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from ops.cli.output import say, screen

if TYPE_CHECKING:
    from collections.abc import Generator

    from producers.batch.sources import Source

LINE_S = 30.0
"""Between two lines where stderr is no terminal."""


def watched(steps: "Generator[int, None, None]", jobs: Callable[[], int], sources: "list[Source]") -> Iterator[None]:
    """Goes through `steps`, which yields the bytes read so far, and shows how far it is. Closes it however this ends.

    jobs: how many jobs are done
    """
    total = sum(source.size_bytes for source in sources) if all(source.size_bytes for source in sources) else 0
    with closing(steps):
        yield from (_bar if sys.stderr.isatty() else _lines)(steps, jobs, total)


def _bar(steps: Iterator[int], jobs: Callable[[], int], total: int) -> Iterator[None]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.fields[jobs]} jobs, {task.fields[rate]}/s"), BarColumn(), TimeRemainingColumn())
    began_s, before = time.monotonic(), jobs()
    with Progress(*columns, console=screen(), transient=True) as bar:
        task = bar.add_task("", total=total or None, jobs="0", rate="-")
        for read_bytes in steps:
            rate = (jobs() - before) / max(time.monotonic() - began_s, 1e-3)
            bar.update(task, completed=read_bytes, jobs=f"{jobs():,}", rate=f"{rate:,.0f}")
            yield


def _lines(steps: Iterator[int], jobs: Callable[[], int], total: int) -> Iterator[None]:
    from ops.view.units import seconds

    began_s = told_s = time.monotonic()
    before, first_bytes = jobs(), None
    for read_bytes in steps:
        first_bytes = read_bytes if first_bytes is None else first_bytes
        now_s = time.monotonic()
        if now_s - told_s >= LINE_S:
            told_s, took_s = now_s, now_s - began_s
            left = ""
            if total and read_bytes > first_bytes:
                left = f", {seconds(took_s * (total - read_bytes) / (read_bytes - first_bytes))} left"
            say(f"{jobs():,} jobs, {(jobs() - before) / took_s:,.0f}/s{left}")
        yield
