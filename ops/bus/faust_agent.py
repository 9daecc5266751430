"""One source topic of a Faust stage: its records are handled in rounds.

A round is what has come meanwhile, at most ROUND_RECORDS, each of another key: all are decided, then the first record
that each leads to is sent and acknowledged, then the second, and so on, dead letters last, in the order of the records;
then all are acknowledged to Faust, in order: it commits past a record that is still at work (faust #606). One by one,
each record that is written is a request of its own, and the broker had more to do than the stage.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import faust
from aiokafka.errors import MessageSizeTooLargeError

from ops.bus import dead_letter
from ops.bus.burial import Burial
from ops.bus.faust_drain import Drain
from ops.bus.process import stop_uncommitted
from ops.bus.pulse import PULSE, beat
from ops.bus.sending import place_of
from ops.bus.tries import described
from ops.crash_points import reached
from schemas import cloud_events
from schemas.errors import Bug, Fatal, InvalidMessage, Transient
from schemas.records import Headers, Incoming, Outgoing
from schemas.topics import Topic

log = logging.getLogger(__name__)

Decide = Callable[[Incoming], Sequence[Outgoing]]
Step = Callable[[], Awaitable[None]]
"""Writes one record and returns when the broker has it."""

ROUND_RECORDS = 64
"""What a crash repeats at most, with the half second since the last commit; an express job waits for no round, as each
lane has its own agent."""


class Agent:
    """Reads `source` and writes what `decide` answers; see faust_app.attach.

    burial: whose limit is that of the process
    """

    def __init__(
        self, app: faust.App, prefix: str, stage: str, source: Topic, decide: Decide, drain: Drain, burial: Burial
    ) -> None:
        self.app, self.prefix, self.stage, self.source, self.decide = app, prefix, stage, source, decide
        self.name = source.name(prefix)
        self.drain, self.burial = drain, burial
        self.topics: dict[str, Any] = {}
        self.handing_over = asyncio.Lock()
        """First come, first served: what is sent side by side is handed over in order, whatever it waits for."""

    def attach(self) -> None:
        """Have the app run it."""

        async def agent(stream: Any) -> None:
            waiting = Waiting()
            rounds = asyncio.ensure_future(self._rounds(waiting))
            try:
                async for event in stream.noack().events():
                    await waiting.put(event)
            finally:
                rounds.cancel()

        self.app.agent(self._topic(self.name), name=f"{self.stage}.{self.source.entity}", concurrency=1)(agent)

    def _topic(self, name: str) -> Any:
        if name not in self.topics:
            raw: Any = {"key_serializer": "raw", "value_serializer": "raw", "key_type": bytes, "value_type": bytes}
            self.topics[name] = self.app.topic(name, allow_empty=True, **raw)
        return self.topics[name]

    async def _rounds(self, waiting: "Waiting") -> None:
        while True:
            events = await waiting.take()
            await self.drain.turn()
            with self.drain.working(self.name):
                await self.handle(events)

    async def handle(self, events: Sequence[Any]) -> None:
        """Answer events, each of another key, and acknowledge them, or end the process."""
        place, more = place_of(events[0].message), len(events) - 1
        place += f" and {more} more" if more else ""
        try:
            records = [incoming(event.message) for event in events]
            for record in records:
                PULSE.read(record.topic, record.partition, record.offset)
            with PULSE.working("agent", place):
                await self._answer(records)
            for event, record in zip(events, records, strict=True):
                event.ack()
                PULSE.done(record.topic, record.partition, record.offset + 1)
        except asyncio.CancelledError:
            stop_uncommitted(f"{self.stage}: interrupted at {place}")
        except Fatal as exc:
            stop_uncommitted(f"{self.stage}: at {place}: {exc}")
        except Exception:
            log.exception("%s: cannot handle %s", self.stage, place)
            stop_uncommitted(f"{self.stage}: failed at {place}")

    async def _answer(self, records: Sequence[Incoming]) -> None:
        """Raises what stops the stage, when the records before the one that does are answered."""
        answers, letters, stop = list[Sequence[Step]](), list[Step](), None
        for record in records:
            try:
                answers.append(self._steps(record, letters))
            except Exception as exc:
                stop = exc
                break
            await asyncio.sleep(0)  # the agents of other lanes decide in between
            beat()
        for turn in range(max(map(len, answers), default=0)):
            await asyncio.gather(*(steps[turn]() for steps in answers if turn < len(steps)))
            beat()
        await asyncio.gather(*(letter() for letter in letters))
        if stop is not None:
            raise stop
        reached(self.stage, "answered")

    def _steps(self, record: Incoming, letters: list[Step]) -> Sequence[Step]:
        """What is to be written for a record, one after the other; its dead letter is put to `letters`."""
        reached(self.stage, "read")
        try:
            answers = self._decided(record)
        except (InvalidMessage, Bug) as exc:
            said, letter = self._bury(record, exc)
            letters.append(letter)
            return said
        reached(self.stage, "decided")
        self.burial.passed()
        return [self._write(out, value) for out, value in answers]

    def _decided(self, record: Incoming) -> list[tuple[Outgoing, bytes | None]]:
        """What to write, encoded. Raises Bug for an exception that nobody foresaw: deciding is pure, so it is the
        record that leads there, and would again."""
        try:
            return [(out, out.value()) for out in self.decide(record)]
        except (InvalidMessage, Transient, Fatal):
            raise
        except Exception as exc:
            log.exception("%s: a bug at %s", self.stage, place_of(record))
            raise Bug(f"{self.stage} raised {described(exc)}") from exc

    def _bury(self, record: Incoming, error: InvalidMessage | Bug) -> tuple[Sequence[Step], Step]:
        said, letter = self.burial.bury(self.source, record, error)

        async def letter_step() -> None:
            # aiokafka writes no record without key and value; the letter of such a one has an empty key.
            key = b"" if record.key is None and record.value is None else record.key
            try:
                await self._send(letter.topic, key, record.value, letter.headers, None)
            except MessageSizeTooLargeError:
                short, headers = dead_letter.fitting(record, letter.headers, most_bytes=0)
                await self._send(letter.topic, short.key, short.value, headers, None)

        return [self._write(out, out.value()) for out in said], letter_step

    def _write(self, out: Outgoing, value: bytes | None) -> Step:
        headers = out.headers
        if out.record is not None and value is not None:
            headers += cloud_events.headers(self.stage, out.topic.entity, out.key, out.record, value)

        async def step() -> None:
            await self._send(out.topic.name(self.prefix), out.key.encode(), value, headers, out.partition)
            reached(self.stage, "acknowledged")

        return step

    async def _send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers, partition: int | None
    ) -> None:
        """Write one record and wait until the broker has it."""
        async with self.handing_over:
            sending = await self._topic(topic).send(key=key, value=value, headers=list(headers), partition=partition)
        await sending


class Waiting:
    """Events that were read and not yet handled."""

    def __init__(self) -> None:
        self._events: deque[Any] = deque()
        self._room = asyncio.Semaphore(ROUND_RECORDS)
        self._some = asyncio.Event()

    async def put(self, event: Any) -> None:
        """Returns when there is room for another one."""
        self._events.append(event)
        self._some.set()
        await self._room.acquire()

    async def take(self) -> list[Any]:
        """The events of the next round, at least one: the longest run of different keys."""
        await self._some.wait()
        taken: list[Any] = []
        keys: set[bytes | None] = set()
        while self._events and len(taken) < ROUND_RECORDS and self._events[0].message.key not in keys:
            event = self._events.popleft()
            keys.add(event.message.key)
            taken.append(event)
            self._room.release()
        if not self._events:
            self._some.clear()
        return taken


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
