"""Is there a record to read? Asked by a consumer of its own, so that the stage's may stand still meanwhile."""

import time
from collections.abc import Mapping

from confluent_kafka import OFFSET_STORED, KafkaError, KafkaException, TopicPartition

from ops.bus import clients
from ops.bus.pulse import Place
from ops.settings import Settings
from schemas.errors import PipelineError

TIMEOUT_S = 5.0


def unread(
    settings: Settings, group: str, places: Mapping[Place, int], timeout_s: float = TIMEOUT_S
) -> dict[Place, int]:
    """Partitions that hold a committed record at or after an offset, and the offset of the first such record.

    places: offset from which to look; below 0: from what the group has committed, or else from the beginning
    Offsets alone do not tell: the end of a topic that is written in transactions lies behind markers that nobody reads.
    A partition that gives no answer in time is left out. Joins no group and commits nothing.
    """
    found: dict[Place, int] = {}
    reader = clients.consumer(settings, group, enable_partition_eof=True, fetch_wait_max_ms=10)
    try:
        wanted = [TopicPartition(t, p, offset if offset >= 0 else OFFSET_STORED) for (t, p), offset in places.items()]
        reader.assign(wanted)
        left, until_s = set(places), time.monotonic() + timeout_s
        while left and time.monotonic() < until_s:
            for message in reader.consume(100, 0.1):
                place = message.topic() or "", message.partition() or 0
                error = message.error()
                if error is None and place in left:
                    found[place] = message.offset() or 0
                if error is None or error.code() == KafkaError._PARTITION_EOF:
                    left.discard(place)
    except (KafkaException, PipelineError):
        return {}
    finally:
        reader.close()
    return found


def answers(settings: Settings, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether a broker answers a client that was made this moment."""
    try:
        clients.admin(settings).list_topics(timeout=timeout_s)
    except (KafkaException, PipelineError):
        return False
    return True
