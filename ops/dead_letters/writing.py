"""Writes markers and records, and says which the broker has."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError

from ops.bus import clients
from ops.dead_letters.letter import Letter, Marker, sent_again
from ops.settings import Settings
from schemas.errors import Transient

DELIVERY_MS = 30_000
FLUSH_S = 2 * DELIVERY_MS / 1000
Claimed = tuple[Letter, Marker]
_NEVER_SENT = frozenset((
    KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.INVALID_MSG, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION,
))  # fmt: skip


@dataclass(slots=True)
class Sending:
    """What became of some records, by offset of their letter."""

    landed: dict[int, int] = field(default_factory=dict)
    """Offset of the record in its topic."""
    not_sent: set[int] = field(default_factory=set)
    """The broker has not got it and never will."""
    why: str = ""
    """What the first that failed was told; it may have arrived all the same."""
    interrupted: bool = False
    """Ctrl-C came before all were handed over."""


class Writer:
    """An idempotent producer that gives up on a record after DELIVERY_MS."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.prefix
        self._producer = clients.producer(settings, delivery_timeout_ms=DELIVERY_MS)

    def mark(self, marks: Sequence[Claimed]) -> list[int]:
        """Write markers beside their letters; their offsets, in order. Raises Transient unless the broker has all."""
        offsets: dict[int, int] = {}

        def told(number: int) -> Callable[[KafkaError | None, Any], None]:
            def note(error: KafkaError | None, message: Any) -> None:
                if error is None:
                    offsets[number] = message.offset()

            return note

        for number, (letter, mark) in enumerate(marks):
            where = letter.record.topic, letter.record.partition
            headers: list[Any] = mark.headers()
            self._producer.produce(where[0], partition=where[1], headers=headers, on_delivery=told(number))
        self._producer.flush(FLUSH_S)
        if len(offsets) < len(marks):
            raise Transient("the broker does not take what is to be remembered about the replay; run it again")
        return [offsets[number] for number in range(len(marks))]

    def send(self, claimed: Sequence[Claimed], pause: Callable[[], None]) -> Sending:
        """Send letters again, with a pause after each, and wait for the broker's word on all of them."""
        done = Sending()
        handed = set()
        try:
            for letter, claim in claimed:
                handed.add(claim.of)
                self._hand_over(letter, claim, done)
                pause()
        except KeyboardInterrupt:
            done.interrupted = True
        if self._producer.flush(FLUSH_S):
            done.why = done.why or "no acknowledgement"
        done.not_sent |= {claim.of for _, claim in claimed} - handed
        return done

    def _hand_over(self, letter: Letter, claim: Marker, done: Sending) -> None:
        def told(error: KafkaError | None, message: Any) -> None:
            if error is None:
                done.landed[claim.of] = message.offset()
                return
            done.why = done.why or error.str()
            if error.code() in _NEVER_SENT:
                done.not_sent.add(claim.of)

        headers: list[Any] = list(sent_again(letter, claim))
        self._producer.produce(
            letter.of.name(self._prefix),
            key=letter.record.key,
            value=letter.record.value,
            partition=claim.partition,
            headers=headers,
            on_delivery=told,
        )
        self._producer.poll(0)
