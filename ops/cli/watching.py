"""Follows jobs and shows them: redrawn in place on a terminal, one line per change elsewhere."""

import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ops.cli.output import screen
from ops.settings import Settings
from ops.view.lines import change, totals
from ops.view.live import live
from ops.view.live_state import LiveState
from producers.client.reader import Entry, TopicReader
from schemas.events import JobState
from schemas.lifecycle import TERMINAL
from schemas.topics import JOBS_STATE, NOTIFY_LOG, SCHEDULER_SWITCHES, WORKERS_STATE

POLL_S = 0.2
REDRAW_S, IDLE_REDRAW_S = 0.4, 1.0
"""Drawing takes 20 ms of a core that the stages need too."""
RECENT_S = 10.0
MOST_LINES = 12
"""More changes than this at once are told as totals."""
ROWS_OF_FRAME = 18
"""Rows of the view that are not job rows."""

OnState = Callable[[JobState], None]


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Follower:
    """One reader of state and one view of it.

    wanted:   limits it to some jobs (by key)
    tenant:   the tenant that goes without saying in names
    on_state: told every new state of a wanted job
    above:    what to show above the jobs, asked at every redraw
    erase:    take the view away at the end
    """

    def __init__(
        self,
        settings: Settings,
        *,
        wanted: Collection[str] | None = None,
        tenant: str = "default",
        on_state: OnState | None = None,
        console: Console | None = None,
        above: Callable[[], RenderableType] | None = None,
        erase: bool = False,
    ) -> None:
        self.state = LiveState()
        self.wanted, self.tenant, self.on_state = wanted, tenant, on_state
        self.console = console or screen()
        self._above, self._erase = above, erase
        self._told = ""
        topics = [JOBS_STATE, WORKERS_STATE, SCHEDULER_SWITCHES, NOTIFY_LOG]
        self._reader = TopicReader(settings, topics, recent_s={WORKERS_STATE.entity: RECENT_S})

    def follow(self, until: Callable[[], bool], show: bool = True) -> None:
        """Show until `until()` is true (asked several times a second). `show=False`: only `on_state` is told.

        A follower is used once.
        """
        display: AbstractContextManager[Live | None] = nullcontext()
        if show and self.console.is_terminal:
            display = Live(console=self.console, auto_refresh=False, vertical_overflow="crop", transient=self._erase)
        with self._reader, display as drawn:
            drawn_s, news = 0.0, False
            while not until():
                entries = self._reader.poll(POLL_S)
                lines, news = self._take(entries), news or bool(entries)
                since_s = time.monotonic() - drawn_s
                if drawn is not None and since_s >= (REDRAW_S if news else IDLE_REDRAW_S):
                    drawn.update(self._frame(), refresh=True)
                    drawn_s, news = time.monotonic(), False
                elif drawn is None and show:
                    self._print(lines)
            if drawn is not None:
                drawn.update(self._frame(), refresh=True)

    def finished(self) -> bool:
        """Whether every wanted job has ended."""
        jobs = self.state.jobs
        return all(key in jobs and jobs[key].state in TERMINAL for key in self.wanted or ())

    def _take(self, entries: list[Entry]) -> list[str]:
        lines = []
        for entry in entries:
            before = self.state.jobs.get(entry.key)
            after = self.state.apply(entry.key, entry.record)
            if after is None or (self.wanted is not None and after.job not in self.wanted):
                continue
            if self.on_state is not None:
                self.on_state(after)
            if (text := change(before, after, self.tenant)) is not None:
                lines.append(text)
        return lines

    def _frame(self) -> Group:
        snapshot = self.state.snapshot(now_ms(), self.wanted, self.tenant)
        above: list[RenderableType] = [] if self._above is None else [self._above(), ""]
        if self._reader.trouble:
            above.append(Text(f"no news from Kafka: {self._reader.trouble}; trying again", style="bold red"))
        return Group(*above, live(snapshot, max(3, self.console.height - ROWS_OF_FRAME)))

    def _print(self, lines: list[str]) -> None:
        if self._reader.trouble != self._told:
            self._told = self._reader.trouble
            lines = [f"no news from Kafka: {self._told}; trying again" if self._told else "Kafka is back", *lines]
        if len(lines) > MOST_LINES:
            lines = [totals(self.state.snapshot(now_ms(), self.wanted, self.tenant))]
        for text in lines:
            print_line(self.console, text)


def print_line(console: Console, text: str) -> None:
    """One line above a live view, or as it is where there is none."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
