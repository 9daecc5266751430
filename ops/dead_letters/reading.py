"""Reads dead letter topics to their end, and again what came since. Joins no group, commits nothing."""

import time
from collections.abc import Iterable, Iterator
from types import TracebackType

from confluent_kafka import Consumer, KafkaException, TopicPartition

from ops.bus import clients
from ops.bus.sending import incoming
from ops.dead_letters.letter import Letter, fold
from ops.settings import Settings
from schemas.errors import Fatal, Transient
from schemas.records import Incoming
from schemas.topics import DeadLetters, Topic

ANSWER_S = 30.0
SILENCE_S = 60.0
"""An open transaction keeps readers waiting; it ends after 15 s at the latest."""
Where = tuple[str, int]


def opened(settings: Settings) -> Consumer:
    """A consumer for `read_on`."""
    return clients.consumer(settings, f"{clients.group_id(settings, 'dlq')}-reader", fetch_wait_max_ms=10)


def end_of(consumer: Consumer, topic: str, partition: int) -> int:
    """Offset of the next record. Raises Transient."""
    try:
        return int(consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=ANSWER_S)[1])
    except KafkaException as exc:
        raise Transient(f"cannot read {topic}: {exc.args[0].str()}") from None


def read_on(consumer: Consumer, starts: dict[Where, int]) -> Iterator[Incoming]:
    """Committed records from these offsets to the ends of the moment; `starts` then says where to go on.

    Raises Transient when the broker stops answering.
    """
    ends = {where: end_of(consumer, *where) for where in starts}
    left = {where for where, end in ends.items() if end > starts[where]}
    consumer.assign([TopicPartition(*where, starts[where]) for where in left])
    news_s = time.monotonic()
    while left:
        for message in consumer.consume(500, 0.1):
            if message.error() is None:
                news_s = time.monotonic()
                yield incoming(message)
        # The position also passes what carries no message: transaction markers, aborted records.
        for place in consumer.position(consumer.assignment()):
            if place.offset >= ends[place.topic, place.partition]:
                left.discard((place.topic, place.partition))
        if left and time.monotonic() - news_s > SILENCE_S:
            raise Transient(f"{sorted(left)[0][0]} could not be read to its end within {SILENCE_S:.0f} s of silence")
    starts.update(ends)


class LetterBox:
    """The letters of some topics. Use as a context manager.

    since_ms: leave out what was written before this moment
    """

    def __init__(self, settings: Settings, topics: Iterable[Topic], since_ms: int = 0) -> None:
        self._of = {DeadLetters(topic).name(settings.prefix): topic for topic in topics}
        self._consumer = opened(settings)
        try:
            self._next = self._starts(settings, since_ms)
            self._letters: dict[Where, dict[int, Letter]] = {where: {} for where in self._next}
            self.refresh()
        except BaseException:
            self._consumer.close()
            raise

    def __enter__(self) -> "LetterBox":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def refresh(self, only: Iterable[Where] | None = None) -> None:
        """Take in what was written since; letters that are known stay the same objects."""
        starts = {where: self._next[where] for where in (self._next if only is None else only)}
        for record in read_on(self._consumer, starts):
            fold(self._letters[record.topic, record.partition], self._of[record.topic], [record])
        self._next.update(starts)

    def letters(self) -> list[Letter]:
        """All of them, partition by partition."""
        return [letter for partition in self._letters.values() for letter in partition.values()]

    def letter(self, topic: str, partition: int, offset: int) -> Letter:
        """The one at this place. Raises Fatal when there is none."""
        found = self._letters.get((topic, partition), {}).get(offset)
        if found is None:
            raise Fatal(f"there is no dead letter at {topic}:{partition}:{offset}; `reelbus dlq list` shows all")
        return found

    def _starts(self, settings: Settings, since_ms: int) -> dict[Where, int]:
        known = self._known(settings)
        if not (places := [(name, p) for name in self._of for p in known.get(name, ())]):
            raise Transient(f"{', '.join(self._of)}: no such topic; `reelbus topics apply` creates them")
        if since_ms <= 0:
            return dict.fromkeys(places, 0)
        asked = [TopicPartition(*place, since_ms) for place in places]
        try:
            found = self._consumer.offsets_for_times(asked, timeout=ANSWER_S)
        except KafkaException as exc:
            raise Transient(f"cannot search dead letters by time: {exc.args[0].str()}") from None
        ends = {(p.topic, p.partition): p.offset for p in found}
        return {place: ends[place] if ends[place] >= 0 else end_of(self._consumer, *place) for place in places}

    def _known(self, settings: Settings) -> dict[str, list[int]]:
        try:
            topics = self._consumer.list_topics(timeout=5.0).topics
        except KafkaException:
            topics = clients.reached(settings).list_topics(timeout=ANSWER_S).topics
        return {name: sorted(about.partitions) for name, about in topics.items()}
