"""Reads the jobs of `reelbus simulate --from-topic`: plans.ready of all lanes, between two moments."""

from collections.abc import Iterator

from confluent_kafka import KafkaException, TopicPartition

from ops.dead_letters.choice import moment
from ops.dead_letters.reading import ANSWER_S, end_of, opened, read_on
from ops.settings import Settings
from schemas.codec import decode
from schemas.errors import InvalidMessage, Transient
from schemas.plan import Plan
from schemas.topics import PLANS_READY


def window(since: str, until: str, now_ms: int) -> tuple[int, int]:
    """The two moments, ms since the epoch. An empty `until` is now. Raises Fatal or InvalidMessage."""
    since_ms, until_ms = moment(since, now_ms), moment(until, now_ms) if until else now_ms
    if since_ms >= until_ms:
        raise InvalidMessage(f"--since: {since!r} must be before --until {until or 'now'!r}")
    return since_ms, until_ms


def plans(settings: Settings, since_ms: int) -> Iterator[Plan]:
    """All plans that were made since then, up to the end as of now. A plan is made after its job was asked for, so
    those of jobs asked for since then are among them. What is no plan is passed over."""
    names = {topic.name(settings.prefix) for topic in PLANS_READY.values()}
    consumer = opened(settings)
    try:
        known = consumer.list_topics(timeout=ANSWER_S).topics
        places = [(name, p) for name in sorted(names & known.keys()) for p in known[name].partitions]
        if not places:
            raise Transient(f"{', '.join(sorted(names))}: no such topic; `reelbus topics apply` creates them")
        asked = [TopicPartition(*place, since_ms) for place in places]
        found = {(p.topic, p.partition): p.offset for p in consumer.offsets_for_times(asked, timeout=ANSWER_S)}
        starts = {where: found[where] if found[where] >= 0 else end_of(consumer, *where) for where in places}
        for record in read_on(consumer, starts):
            try:
                yield decode(Plan, record.value)
            except InvalidMessage:
                continue
    except KafkaException as exc:
        raise Transient(f"cannot read plans by time: {exc.args[0].str()}") from None
    finally:
        consumer.close()
