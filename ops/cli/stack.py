"""Broker, topics and stages on this machine, as one context: what `up` and `demo` share."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.local.supervisor import KILL_AFTER_DRAIN_S, Supervisor, stage_command
from ops.settings import Settings
from ops.stages import STAGES

Say = Callable[[str], None]

GC = "gc"
"""No stage, but kept running beside them: it deletes what nobody needs any more."""
GC_FIRST_AFTER_S = 300
"""Not while everything starts."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A running pipeline."""

    settings: Settings
    """With the broker that is really used."""
    supervisor: Supervisor
    local_broker: bool


def interrupt_once() -> None:
    """From now on SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt once; later ones do not disturb the clean-up."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def handle(*_: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, handle)


@contextmanager
def stack(settings: Settings, *, local_port: int | None, workers: int, say: Say) -> Iterator[Stack]:
    """Start everything, stop everything at the end, whatever ends it.

    local_port: port of a broker to start here (0: any free one); None uses settings.bootstrap_servers
    workers:    render workers
    say:        told what happens, one line at a time
    """
    data_dir = Path(settings.data_dir).resolve()
    with ExitStack() as cleanup:
        cleanup.callback(say, "stopped")
        if local_port is not None:
            settings = settings.replace(bootstrap_servers=_start_broker(data_dir, local_port, cleanup, say))
        _apply_topics(settings, say)
        counts = [(stage.name, workers if stage.needs_pool else stage.processes) for stage in STAGES.values()]
        if settings.gc_every_s:
            counts.append((GC, 1))
        supervisor = Supervisor(counts, settings, command=lambda name: _command(name, settings), report=say)
        cleanup.callback(supervisor.stop)
        most_s = settings.drain_s + KILL_AFTER_DRAIN_S
        cleanup.callback(say, f"stopping the stages; what is at work is finished first, in at most {most_s:.0f} s")
        supervisor.start()
        say(f"started {len(STAGES)} stages, {workers} of render; logs in {_short(data_dir / 'logs')}")
        yield Stack(settings, supervisor, local_port is not None)


def _command(name: str, settings: Settings) -> list[str]:
    if name != GC:
        return stage_command(name)
    every_s = settings.gc_every_s
    first_s = min(every_s, GC_FIRST_AFTER_S)
    return [sys.executable, "-m", "ops", "gc", "--every", str(every_s), "--first-after", str(first_s)]


def _start_broker(data_dir: Path, port: int, cleanup: ExitStack, say: Say) -> str:
    from ops.local.broker_keeper import BrokerKeeper

    say("starting Kafka")
    keeper = BrokerKeeper(data_dir, port, report=say)
    cleanup.callback(keeper.stop)
    keeper.start()
    cleanup.callback(say, "stopping Kafka")
    servers = keeper.kafka.bootstrap_servers
    say(f"Kafka answers at {servers}; its data is in {_short(data_dir)}")
    return servers


def _apply_topics(settings: Settings, say: Say) -> None:
    from ops import topics_admin

    changes = topics_admin.plan(settings)
    topics_admin.apply(settings, changes)
    for change in changes:
        if change.action == "refused":
            say(f"warning: topic {change.topic} {change.detail}")
    made = sum(change.action not in ("refused", "unknown") for change in changes)
    say(f"topics are ready, {made} of them created or changed" if made else "topics are ready")


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
