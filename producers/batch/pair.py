"""Two producers by turns: while the jobs of one are on their way, the next ones are handed to the other.

So it is known that all jobs of a turn are acknowledged without a report for each of them, and nobody waits for the
broker as long as it keeps up.
"""

import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Producer

from ops.bus import clients
from ops.settings import Settings
from producers.client.reader import REACH_TIMEOUT_S, partitions_of
from schemas.errors import Transient
from schemas.topics import JOBS_REQUESTED

PRODUCER = {
    "linger_ms": 20, "compression_type": "lz4", "queue_buffering_max_messages": 50_000,
    "queue_buffering_max_kbytes": 65_536, "batch_num_messages": 10_000, "delivery_timeout_ms": 120_000,
}  # fmt: skip
"""Throughput first; the bounded queue is what keeps memory flat."""
FULL_WAIT_S = 0.05
FLUSH_STEP_S = 0.2
"""A longer wait in one piece would not notice Ctrl-C."""
AGAIN = "run the same command again"
Produce = Callable[..., None]


class Pair:
    """Raises Transient when no broker answers, a topic is missing, or the broker does not take a job."""

    def __init__(self, settings: Settings) -> None:
        self._both: list[Producer] = [
            clients.producer(settings, **PRODUCER, delivery_report_only_error=True) for _ in range(2)
        ]
        for producer in self._both:
            partitions_of(producer, settings, list(JOBS_REQUESTED.values()))
        cluster = str(self._both[0].list_topics(timeout=REACH_TIMEOUT_S).cluster_id)
        self.target = f"{cluster}/{settings.prefix}"
        """Where the jobs go: names the cluster and the prefix of the topics."""
        self._turn = 0
        self._failure: KafkaError | None = None

    @property
    def handing(self) -> Produce:
        """The way to hand a job to the one whose turn it is, with `failed` for on_delivery, for who cannot afford
        `produce`; raises what confluent-kafka raises.
        """
        return self._both[self._turn].produce

    def produce(self, topic: str, value: bytes, key: bytes, headers: list[tuple[str, bytes]] | None = None) -> None:
        """Hand one job over; waits while there is no room for it."""
        producer: Producer = self._both[self._turn]
        produce: Produce = producer.produce
        while True:
            try:
                if headers is None:
                    produce(topic, value, key, on_delivery=self.failed)
                else:
                    produce(topic, value, key, on_delivery=self.failed, headers=headers)
            except BufferError:
                producer.poll(FULL_WAIT_S)
                self._check()
            except KafkaException as exc:
                raise Transient(f"the broker does not take jobs: {exc.args[0].str()}; {AGAIN}") from None
            else:
                return

    def turn(self) -> None:
        """Go on with the other one, after all that it was given before is acknowledged."""
        self._turn ^= 1
        self._flush(self._both[self._turn])
        self._check()

    def give_up(self, within_s: float) -> bool:
        """Wait no longer than this for what is on its way. Returns whether all of it is acknowledged."""
        until_s = time.monotonic() + within_s
        left = [producer.flush(max(0.0, until_s - time.monotonic())) for producer in self._both]
        return not any(left) and self._failure is None

    def wait(self, timeout_s: float) -> None:
        """Let time pass while what was handed over goes out."""
        self._both[self._turn].poll(timeout_s)
        self._check()

    def _flush(self, producer: Producer) -> None:
        while producer.flush(FLUSH_STEP_S):  # ends: delivery.timeout.ms
            pass

    def failed(self, error: KafkaError | None, message: object) -> None:
        """Told of a job that was not delivered."""
        if error is not None:  # always so: reports are only asked for when something went wrong
            self._failure = error

    def _check(self) -> None:
        if self._failure is not None:
            raise Transient(f"the broker did not take a job: {self._failure.str()}; {AGAIN}")
