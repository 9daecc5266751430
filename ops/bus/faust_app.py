"""Faust with the settings and the manners that were measured to lose nothing under SIGKILL.

At-least-once, one agent per topic, one record at a time, no tables. Three rules are built in:
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
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import faust
from aiokafka.errors import MessageSizeTooLargeError

from ops.bus import dead_letter, faust_drain, faust_security
from ops.bus.burial import Burial, GiveUp
from ops.bus.clients import group_id
from ops.bus.damped_log import Damped
from ops.bus.dead_letter_limit import DeadLetterLimit
from ops.bus.process import EXIT_UNCOMMITTED as EXIT_UNCOMMITTED
from ops.bus.process import stop_uncommitted
from ops.bus.pulse import PULSE
from ops.bus.sending import place_of
from ops.bus.tries import described
from ops.crash_points import reached
from ops.settings import Settings
from schemas import cloud_events
from schemas.errors import Bug, Fatal, InvalidMessage, Transient
from schemas.records import Headers, Incoming, Outgoing
from schemas.topics import Topic

log = logging.getLogger(__name__)

Decide = Callable[[Incoming], Sequence[Outgoing]]

MAX_REQUEST_BYTES = 16 * 1024 * 1024
"""Largest batch the producer hands over: the broker's limit decides, not the client's."""


class StageApp(faust.App):
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
    _Agent(app, settings, stage, source, decide, give_up).attach()


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


class _Agent:
    """One source topic of one stage."""

    def __init__(
        self, app: StageApp, settings: Settings, stage: str, source: Topic, decide: Decide, give_up: GiveUp | None
    ) -> None:
        self.app, self.prefix, self.stage, self.source, self.decide = app, settings.prefix, stage, source, decide
        self.name = source.name(settings.prefix)
        self.burial = Burial(settings, stage, group_id(settings, stage), give_up, app.limit)
        self.topics: dict[str, Any] = {}

    def attach(self) -> None:
        async def agent(stream: Any) -> None:
            async for event in stream.events():
                await self.app.drain.turn()
                with self.app.drain.working(self.name):
                    await self.handle(incoming(event.message))

        self.app.agent(self._topic(self.name), name=f"{self.stage}.{self.source.entity}", concurrency=1)(agent)

    def _topic(self, name: str) -> Any:
        if name not in self.topics:
            raw: Any = {"key_serializer": "raw", "value_serializer": "raw", "key_type": bytes, "value_type": bytes}
            self.topics[name] = self.app.topic(name, allow_empty=True, **raw)
        return self.topics[name]

    async def handle(self, record: Incoming) -> None:
        """Answer one record, or end the process."""
        place = place_of(record)
        PULSE.read(record.topic, record.partition, record.offset)
        try:
            with PULSE.working("agent", place):
                await self._answer(record, place)
            PULSE.done(record.topic, record.partition, record.offset + 1)
        except asyncio.CancelledError:
            # Faust acknowledges a record whose agent is cancelled as well.
            stop_uncommitted(f"{self.stage}: interrupted at {place}")
        except Fatal as exc:
            stop_uncommitted(f"{self.stage}: at {place}: {exc}")
        except Exception:
            log.exception("%s: cannot handle %s", self.stage, place)
            stop_uncommitted(f"{self.stage}: failed at {place}")

    async def _answer(self, record: Incoming, place: str) -> None:
        reached(self.stage, "read")
        try:
            answers = self._decided(record, place)
        except (InvalidMessage, Bug) as exc:
            await self._bury(record, exc)
            return
        reached(self.stage, "decided")
        for out, value in answers:
            await self._write(out, value)
            reached(self.stage, "acknowledged")
        reached(self.stage, "answered")
        self.burial.passed()

    def _decided(self, record: Incoming, place: str) -> list[tuple[Outgoing, bytes | None]]:
        """What to write, encoded. Raises Bug for an exception that nobody foresaw: deciding is pure, so it is the
        record that leads there, and would again."""
        try:
            return [(out, out.value()) for out in self.decide(record)]
        except (InvalidMessage, Transient, Fatal):
            raise
        except Exception as exc:
            log.exception("%s: a bug at %s", self.stage, place)
            raise Bug(f"{self.stage} raised {described(exc)}") from exc

    async def _bury(self, record: Incoming, error: InvalidMessage | Bug) -> None:
        said, letter = self.burial.bury(self.source, record, error)
        for out in said:
            await self._write(out, out.value())
        # aiokafka writes no record without key and value; the letter of such a one has an empty key.
        key = b"" if record.key is None and record.value is None else record.key
        try:
            await self._send(letter.topic, key, record.value, letter.headers, None)
        except MessageSizeTooLargeError:
            short, headers = dead_letter.fitting(record, letter.headers, most_bytes=0)
            await self._send(letter.topic, short.key, short.value, headers, None)

    async def _write(self, out: Outgoing, value: bytes | None) -> None:
        headers = out.headers
        if out.record is not None and value is not None:
            headers += cloud_events.headers(self.stage, out.topic.entity, out.key, out.record, value)
        await self._send(out.topic.name(self.prefix), out.key.encode(), value, headers, out.partition)

    async def _send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers, partition: int | None
    ) -> None:
        """Write one record and wait until the broker has it."""
        sending = await self._topic(topic).send(key=key, value=value, headers=list(headers), partition=partition)
        await sending


def incoming(message: Any) -> Incoming:
    """The stages' view of a Faust message. Faust gives the timestamp in seconds."""
    pairs: Iterable[tuple[str, bytes | None]] = message.headers or ()
    if isinstance(pairs, dict):
        pairs = pairs.items()
    return Incoming(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value,
        headers=tuple((str(name), value or b"") for name, value in pairs),
        timestamp_ms=-1 if message.timestamp is None else round(message.timestamp * 1000),
    )
