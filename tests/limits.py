"""A pytest plugin: no run hangs for ever, and a run that is cut off has already said what failed.

pytest-timeout interrupts a test by a signal, which code that is stuck in C never sees, and watches no test that has
already failed. Here the process ends, with the stacks of all its threads on stderr, when a test is far over its limit
or its teardown takes too long; pytest-xdist then names the test, starts another process and goes on.
"""

import faulthandler
import os
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

_STDERR = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("grace", "seconds that a test may take to end after pytest-timeout's signal", default="60")
    parser.addini("teardown_limit", "seconds that a test's fixtures may take to end", default="180")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # While a test runs, descriptor 2 is a file that captures its output.
    capture = config.pluginmanager.getplugin("capturemanager")
    with nullcontext() if capture is None else capture.global_and_fixture_disabled():
        config.stash[_STDERR] = os.dup(2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    marker = item.get_closest_marker("timeout")
    limit_s = float(marker.args[0] if marker else item.config.getini("timeout")) + float(item.config.getini("grace"))
    faulthandler.dump_traceback_later(limit_s, exit=True, file=item.config.stash[_STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    limit_s = float(item.config.getini("teardown_limit"))
    faulthandler.dump_traceback_later(limit_s, exit=True, file=item.config.stash[_STDERR])
    return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, sched: Any) -> None:
    """pytest-xdist would run the test that ended its process again and again: by file, it puts it back in its queue."""
    for unit in getattr(sched, "workqueue", {}).values():
        if crashitem in unit:
            unit[crashitem] = True


class LiveFailures:
    """Shows each failure when it happens. pytest shows them at its end, which a run that is cut off never reaches."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._terminal.write_line(f"\n{report.when} of {report.nodeid} failed after {report.duration:.1f} s:")
            self._terminal.write_line(report.longreprtext)


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    terminal = session.config.pluginmanager.getplugin("terminalreporter")
    if os.environ.get("CI") and terminal is not None:
        session.config.pluginmanager.register(LiveFailures(terminal), "reelbus-live-failures")
