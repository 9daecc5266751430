"""Ends a process that hangs, so that its supervisor starts it again: the thread around `hang.Judge`.

Before the end it writes the stack of every thread and where each partition stands to the log. It spares the process
while no broker answers: then nothing can get on, and starting again would not help.
"""

import contextlib
import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from ops.bus import look
from ops.bus.hang import Judge, Seen, Verdict
from ops.bus.pulse import PULSE, Pulse
from ops.settings import Settings

log = logging.getLogger(__name__)

EXIT_HUNG = 79
"""Exit status of a process that its watchdog ended. Outside the range of sysexits.h, used by nothing else here."""
TICKS = 12
"""A limit is this many ticks."""
DEFAULT_LIMIT_S = 60.0
"""What liveness is judged by when the watchdog is off."""
LAST_WORDS_S = 10.0
"""Longest time for writing the log; a stuck log must not keep a hanging process alive."""


class Watchdog(AbstractContextManager["Watchdog"]):
    """Watches this process while the block runs.

    With `settings.watchdog_s` 0 it judges all the same, for the liveness endpoint, and ends nothing.
    end: what ends the process, with EXIT_HUNG
    """

    def __init__(
        self, settings: Settings, stage: str, pulse: Pulse = PULSE, end: Callable[[int], None] = os._exit
    ) -> None:
        self.settings, self.stage, self.pulse, self._end = settings, stage, pulse, end
        self.limit_s = settings.watchdog_s or DEFAULT_LIMIT_S
        self.tick_s = self.limit_s / TICKS
        self.verdict = Verdict()
        self.outage = False
        """No broker answered when something seemed to hang."""
        self._judge = Judge(TICKS, self.tick_s)
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join(look.TIMEOUT_S + 1)

    def _run(self) -> None:
        while not self._left.wait(self.tick_s):
            try:
                self._tick()
            except Exception:  # whatever it is, watching goes on
                log.exception("watchdog")

    def _tick(self) -> None:
        pulse = self.pulse
        for activity in list(pulse.activities):
            if activity.ping is not None:
                with contextlib.suppress(RuntimeError):  # its loop is closed: then it has ended, or it hangs
                    activity.ping()
        seen = [Seen(a.id, a.name, a.doing, a.beats, a.limit_s) for a in list(pulse.activities)]
        places = {place: stand.read for place, stand in list(pulse.stands.items()) if not stand.held}
        self.verdict = self._judge.tick(seen, pulse.reads, reading=bool(places) and not pulse.at_hand())
        if self.verdict.look:
            self._judge.found(look.unread(self.settings, pulse.group, places))
        if self.outage or self.verdict.hanging:
            self._consider()

    def _consider(self) -> None:
        """Something hangs. Whose fault is it?"""
        before, self.outage = self.outage, not look.answers(self.settings)
        if self.outage or before:
            if self.outage != before:
                log.warning("%s: %s", self.stage, "no broker answers" if self.outage else "a broker answers again")
            # From the moment at which a broker answers again everything has the whole limit to get on.
            self._judge.forgive()
            self.verdict = Verdict()
        elif self.settings.watchdog_s:
            self._finish()

    def _finish(self) -> None:
        threading.Thread(target=self._at_the_latest, daemon=True).start()
        log.critical("%s hangs: %s", self.stage, "; ".join(self.verdict.hanging))
        for line in standing(self.pulse):
            log.critical("%s: %s", self.stage, line)
        faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
        log.critical("%s: ending with status %d, to be started again", self.stage, EXIT_HUNG)
        logging.shutdown()
        self._end(EXIT_HUNG)

    def _at_the_latest(self) -> None:
        time.sleep(LAST_WORDS_S)
        self._end(EXIT_HUNG)


def standing(pulse: Pulse) -> list[str]:
    """A line per partition, and one per thing at work."""
    lines = [
        f"{topic}[{partition}]: read to {_offset(stand.read)}, done to {_offset(stand.done)}{', held' * stand.held}"
        for (topic, partition), stand in sorted(pulse.stands.items())
    ]
    return [*lines, *(f"at work: {a.name} ({a.doing})" for a in list(pulse.activities) if a.doing)]


def _offset(offset: int) -> str:
    return "?" if offset < 0 else str(offset)
