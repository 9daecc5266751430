"""Waiting for what other processes do, and looking whether they live."""

import time
from collections.abc import Callable

from ops.local import children


def until(condition: Callable[[], bool], what: str, within_s: float) -> None:
    """Returns once the condition holds; fails when it does not within `within_s`."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    return children.command_line(pid) != ""
