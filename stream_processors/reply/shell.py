"""reply at work: copies replies to topics that exist."""

import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from ops.bus import clients
from ops.bus.worker import run
from ops.settings import Settings
from schemas.codec import decode
from schemas.errors import InvalidMessage, Transient
from schemas.events import JobReply
from schemas.records import Incoming, Outgoing
from schemas.topics import JOBS_REPLIES
from stream_processors.reply.core import answer

KNOWN_FOR_S = 60.0
TIMEOUT_S = 10.0


class Existing:
    """Knows which topics exist. Asking creates none, whatever the broker's auto.create.topics.enable says."""

    def __init__(self, admin: AdminClient) -> None:
        self._admin = admin
        self._seen_s: dict[str, float] = {}

    def check(self, topic: str) -> None:
        """Raises InvalidMessage when the topic does not exist or may not be written, Transient when nobody answers."""
        now_s = time.monotonic()
        if now_s - self._seen_s.get(topic, -KNOWN_FOR_S) < KNOWN_FOR_S:
            return
        try:
            asked = self._admin.describe_topics(TopicCollection([topic]), request_timeout=TIMEOUT_S)
            asked[topic].result()
        except KafkaException as exc:
            code = exc.args[0].code()
            if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_EXCEPTION):
                raise InvalidMessage(f"reply_topic: {topic} does not exist; create it before jobs name it") from None
            if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise InvalidMessage(f"reply_topic: stage reply may not write {topic}; grant it WRITE") from None
            raise Transient(f"cannot look up topic {topic}: {exc.args[0].str()}") from None
        if len(self._seen_s) > 10_000:
            self._seen_s.clear()
        self._seen_s[topic] = now_s


class Replier:
    """Handles one reply at a time."""

    def __init__(self, existing: Existing) -> None:
        self._existing = existing

    def __call__(self, record: Incoming) -> Sequence[Outgoing]:
        out = answer(decode(JobReply, record.value))
        if out is None:
            return ()
        self._existing.check(out.topic.name(""))
        return (out,)


def main(settings: Settings) -> None:
    """Run the stage until it is told to stop."""
    run(settings, "reply", [JOBS_REPLIES], Replier(Existing(clients.admin(settings))))
