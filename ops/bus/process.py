"""What every stage process does the same way: stop on signals, end at once, die with its parent."""

import ctypes
import logging
import os
import signal
import sys
import threading
import time

log = logging.getLogger(__name__)

EXIT_UNCOMMITTED = 70
"""Exit status (EX_SOFTWARE) of a process that ended with a record read and not committed."""


class Deadline:
    """A time that begins when it is first asked about."""

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s
        self._at_s = 0.0

    def passed(self) -> bool:
        now_s = time.monotonic()
        self._at_s = self._at_s or now_s + self.after_s
        return now_s >= self._at_s


def stop_uncommitted(why: str) -> None:
    """End the process now. Nothing is acknowledged on the way out, so the record at work comes again."""
    log.critical("%s; stopping, the record will be read again", why)
    end_now(EXIT_UNCOMMITTED)


def end_now(status: int) -> None:
    """End the process without waiting for its threads; the log is written."""
    logging.shutdown()
    os._exit(status)


def stop_event() -> threading.Event:
    """An event that SIGTERM and SIGINT set. Call once, in the main thread."""
    event = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: event.set())
    return event


def die_with_parent() -> None:
    """Ask Linux to SIGKILL this process when its parent dies, so that kill -9 of a parent leaves nothing behind."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
