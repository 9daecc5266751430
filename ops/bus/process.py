"""What every stage process does the same way: stop on signals, die with its parent."""

import ctypes
import signal
import sys
import threading


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
