"""Faust with the settings and the manners that were measured to lose nothing under SIGKILL.

At-least-once, one agent per topic, records in rounds (faust_agent), no tables. Three rules are built in:
- a record is done when every record it leads to is acknowledged by the broker;
- Faust takes a record whose agent raised for done, which would lose it, so an agent never raises: a record that breaks
  the contract, or at which the stage's step has a bug, becomes a dead letter, and anything else (a send that fails)
  ends the process at once with the record not committed;
- agents yield nothing, so the header Faust-Ag-ReplyTo, by which a sender could make a worker write to a topic of its
  choice, has no effect.

Faust reads uncommitted records: no topic that is read here may be written in transactions.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

from ops.bus import faust_drain, faust_security, faust_turns
from ops.bus.burial import Burial, GiveUp
from ops.bus.clients import group_id
from ops.bus.damped_log import Damped
from ops.bus.dead_letter_limit import DeadLetterLimit
from ops.bus.faust_agent import Agent, Decide
from ops.bus.process import EXIT_UNCOMMITTED as EXIT_UNCOMMITTED
from ops.bus.pulse import PULSE
from ops.settings import Settings
from schemas.errors import Fatal
from schemas.topics import Topic

MAX_REQUEST_BYTES = 16 * 1024 * 1024
"""Largest batch the producer hands over: the broker's limit decides, not the client's."""


class StageApp(faust_turns.App):
    """A Faust app that can drain."""

    drain: faust_drain.Drain
    limit: DeadLetterLimit


def build_app(settings: Settings, stage: str) -> StageApp:
    """The Faust app of a stage. Its consumer group is the stage's."""
    datadir = Path(settings.data_dir).absolute() / "faust" / stage
    datadir.mkdir(parents=True, exist_ok=True)  # Faust makes no missing parents
    brokers = [f"kafka://{server.strip()}" for server in settings.bootstrap_servers.split(",") if server.strip()]
    app = StageApp(
        group_id(settings, stage),
        broker=brokers,
        broker_credentials=faust_security.credentials(settings.kafka),
        broker_client_id=settings.prefix,
        datadir=datadir,
        store="memory://",
        autodiscover=False,
        key_serializer="raw",
        value_serializer="raw",
        processing_guarantee="at_least_once",
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=0.5,
        broker_session_timeout=10.0,
        broker_heartbeat_interval=3.0,
        broker_request_timeout=40.0,
        # One fetch loop feeds all agents: the buffer holds at least 5 x partitions x poll records, or a slow agent
        # stops its neighbours.
        broker_max_poll_records=10,
        stream_buffer_maxsize=1024,
        stream_wait_empty=True,
        producer_acks=-1,
        producer_request_timeout=30.0,
        producer_max_request_size=MAX_REQUEST_BYTES,
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        web_enabled=False,
    )
    app.drain = faust_drain.Drain(settings.drain_s)
    app.limit = DeadLetterLimit(settings.dead_letter_max_share, settings.dead_letter_max_run)
    return app


def attach(
    app: StageApp, settings: Settings, stage: str, source: Topic, decide: Decide, give_up: GiveUp | None = None
) -> None:
    """Make `app` read `source` and write what `decide` answers.

    decide:  pure; called once per record, again after a crash. Its records are sent in order, each after the one before
             it was acknowledged. It raises InvalidMessage for a record that can never be processed; any exception that
             is no PipelineError makes a dead letter as well.
    give_up: what to write when a record becomes a dead letter, so that its job does not wait for ever
    """
    burial = Burial(settings, stage, group_id(settings, stage), give_up, app.limit)
    Agent(app, settings.prefix, stage, source, decide, app.drain, burial).attach()


def run(app: StageApp) -> None:
    """Run the app in this process until SIGTERM or SIGINT; then it drains, and the process ends here.

    Raises Fatal when it stopped for another reason.
    """
    for chatty in ("faust", "mode", "aiokafka"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for loud in ("aiokafka", "aiokafka.consumer.group_coordinator"):
        logging.getLogger(loud).addFilter(Damped())
    options: dict[str, Any] = {"override_logging": False, "redirect_stdouts": False, "quiet": True}
    worker = faust_drain.DrainingWorker(app, loglevel="WARNING", **options)
    worker.spinner = None
    worker.drain = app.drain
    _watch(app, worker.loop)
    try:
        worker.execute_from_commandline()
    except SystemExit as end:
        if end.code:
            raise Fatal(f"{app.conf.id}: the Kafka client stopped (status {end.code})") from None


def _watch(app: StageApp, loop: asyncio.AbstractEventLoop) -> None:
    """Tell the watchdog of the app's two loops and of its partitions."""
    PULSE.joining(app.conf.id)
    PULSE.loop("event loop", post=loop.call_soon_threadsafe)
    threads: set[int] = set()

    @app.on_partitions_assigned.connect(weak=False)
    async def assigned(_app: Any, assigned: Any, **_: Any) -> None:
        PULSE.assigned(assigned)
        thread = getattr(app.consumer, "_thread", None)
        if thread is not None and id(thread) not in threads:
            threads.add(id(thread))
            PULSE.loop("consumer's event loop", post=thread.thread_loop.call_soon_threadsafe)

    @app.on_partitions_revoked.connect(weak=False)
    async def revoked(_app: Any, revoked: Any, **_: Any) -> None:
        PULSE.revoked(revoked)
