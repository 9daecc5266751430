"""Topics that a Faust stage reads take turns.

aiokafka hands over what it has fetched partition by partition, in the order in which they came: where one partition has
a backlog its thousand records come first, and an express job behind them waits for a minute. Faust helps only while a
stream's buffer is full, so when the stage is slower than the client.
"""

from collections.abc import Iterable
from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP


class Turns:
    """Whose turn it is. Pure."""

    def __init__(self) -> None:
        self._last = ""

    def order(self, topics: Iterable[str]) -> list[str]:
        """Topics by name, beginning behind the one that had something last."""
        return sorted(set(topics), key=lambda topic: (topic <= self._last, topic))

    def had(self, topic: str) -> None:
        """Records of this topic were handed over."""
        self._last = topic


class _Thread(driver.AIOKafkaConsumerThread):
    def __init__(self, *what: Any, **how: Any) -> None:
        super().__init__(*what, **how)
        self._turns = Turns()

    async def _fetch_records(
        self, consumer: Any, active_partitions: set[TP], timeout: float | None = None, max_records: int | None = None
    ) -> Any:
        """Records of one topic, if anything is at hand; else what comes first within `timeout` seconds."""
        for topic in self._turns.order(place.topic for place in active_partitions or ()):
            places = {place for place in active_partitions if place.topic == topic}
            if records := await super()._fetch_records(consumer, places, 0, max_records):
                self._turns.had(topic)
                return records
        return await super()._fetch_records(consumer, active_partitions, timeout, max_records)


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class _Transport(driver.Transport):
    Consumer = _Consumer


class App(faust.App):
    """A Faust app whose topics take turns."""

    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)
