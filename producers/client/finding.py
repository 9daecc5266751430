"""Finds the request of a job on the request topics, by what its state says of it."""

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ops.bus import clients
from ops.settings import Settings
from producers.client.reader import partitions_of
from schemas.codec import decode
from schemas.errors import Fatal, InvalidMessage, Transient
from schemas.events import JobState
from schemas.ids import fingerprint
from schemas.request import JobRequest
from schemas.topics import JOBS_REQUESTED

ANSWER_S = 30.0


def find(settings: Settings, state: JobState) -> JobRequest:
    """The request that made a job. Request topics carry the broker's time, so it lies where its timestamp is.

    Raises Fatal when the topic does not keep it any more, Transient when the broker does not answer.
    """
    reader = clients.consumer(settings, f"{clients.group_id(settings, 'table')}-reader", enable_partition_eof=True)
    try:
        places = partitions_of(reader, settings, list(JOBS_REQUESTED.values()))
        asked = [
            TopicPartition(topic.name(settings.prefix), p, state.requested_at_ms)
            for topic, ps in places.items()
            for p in ps
        ]
        found = [place for place in reader.offsets_for_times(asked, timeout=ANSWER_S) if place.offset >= 0]
        request = _search(reader, found, state)
    except KafkaException as exc:
        raise Transient(f"cannot read the request topics: {exc.args[0].str()}") from None
    finally:
        reader.close()
    if request is None:
        raise Fatal(
            f"the request of job {state.job} is not on its topic any more (kept for a week unless changed); "
            "give it as a file with --request"
        )
    return request


def _search(reader: Consumer, places: list[TopicPartition], state: JobState) -> JobRequest | None:
    job_id = state.job.partition("/")[2].encode()
    left = {(place.topic, place.partition) for place in places}
    reader.assign(places)
    while left:
        first = reader.poll(ANSWER_S)
        if first is None:
            raise Transient(f"no answer from the request topics within {ANSWER_S:.0f} s")
        for message in [first, *reader.consume(500, 0)]:
            place = message.topic() or "", message.partition() or 0
            if (error := message.error()) is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                left.discard(place)
            elif message.timestamp()[1] > state.requested_at_ms:
                left.discard(place)
            elif message.key() == job_id and (request := _same(message.value(), state)) is not None:
                return request
    return None


def _same(raw: bytes | None, state: JobState) -> JobRequest | None:
    """The request, if it is the one of the job: another tenant may have used the same id."""
    try:
        request = decode(JobRequest, raw)
        return request if fingerprint(request) == state.fingerprint else None
    except (InvalidMessage, ValueError):
        return None
