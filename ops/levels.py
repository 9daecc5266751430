"""What operators set and the scheduler follows: the last record of a key on a compacted topic holds."""

import contextlib
import getpass
import time
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from ops.bus import clients, table
from ops.bus.sending import Outbox
from ops.settings import Settings
from schemas.codec import decode
from schemas.errors import InvalidMessage, Transient
from schemas.records import Outgoing
from schemas.topics import Topic

SEND_TIMEOUT_S = 30.0
R = TypeVar("R", bound=Struct)


def set_one(settings: Settings, topic: Topic, key: str, record: R, what: str) -> R:
    """Write the last record of a key with who sets it and when, and return it so. Raises and `what`: as for `put`."""
    signed = replace(record, by=who(), at_ms=time.time_ns() // 1_000_000)
    put(settings, topic, key, signed, what)
    return signed


def put(settings: Settings, topic: Topic, key: str, record: Struct | None, what: str) -> None:
    """Write the last record of a key; None: a tombstone. Raises Transient when the broker does not take it. what: as
    in "lane bulk could not be switched off"."""
    outbox = Outbox(clients.producer(settings), settings.prefix, "ops")
    outbox.send([Outgoing(topic, key, record)])
    if outbox.producer.flush(SEND_TIMEOUT_S) or outbox.failures:
        why = outbox.failures[0] if outbox.failures else "no acknowledgement"
        raise Transient(f"{what} ({why}); give the command again")


def read(settings: Settings, topic: Topic, kind: type[R]) -> dict[str, R]:
    """What holds now, by key. What is no such record is left out, as the scheduler passes it over too. Raises Transient
    when the topic cannot be read."""
    found = {}
    for key, raw in table.load(settings, topic).items():
        with contextlib.suppress(InvalidMessage):
            found[key] = decode(kind, raw)
    return found


def who() -> str:
    """Name of who gives the command; "" where there is none, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
