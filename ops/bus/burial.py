"""What is done with a record that becomes a dead letter: counted, said for its job, written with its headers."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ops.bus import dead_letter
from ops.bus.dead_letter_limit import DeadLetterLimit
from ops.bus.sending import place_of
from ops.settings import Settings
from schemas.errors import Fatal, GivenUp, InvalidMessage
from schemas.records import Headers, Incoming, Outgoing
from schemas.topics import DeadLetters, Topic

log = logging.getLogger(__name__)

Unusable = InvalidMessage | GivenUp
GiveUp = Callable[[Incoming, Unusable], Sequence[Outgoing]]
"""What to write for a record that is given up: the end of its job. Raises InvalidMessage when it cannot be read."""


def told(stage: str, error: Unusable) -> str:
    """What the owner of the job is told, in one sentence. Exceptions of ours are not for them."""
    if isinstance(error, InvalidMessage):
        return f"{stage} cannot read a record of this job: {error}"
    return f"{stage} could not process this job ({type(error).__name__.lower()}); the operator has the record"


@dataclass(frozen=True, slots=True)
class Letter:
    """Where a dead letter goes, and its headers."""

    topic: str
    headers: Headers


class Burial:
    """A stage's dead letters.

    give_up: None when no job waits for any record
    limit:   for a process with several readers, which all count in one
    """

    def __init__(
        self, settings: Settings, stage: str, group: str, give_up: GiveUp | None, limit: DeadLetterLimit | None = None
    ) -> None:
        self._prefix, self._stage, self._group, self._give_up = settings.prefix, stage, group, give_up
        self._limit = limit or DeadLetterLimit(settings.dead_letter_max_share, settings.dead_letter_max_run)

    def passed(self) -> None:
        """A record was handled."""
        self._limit.passed()

    def bury(
        self, topic: Topic, record: Incoming, error: Unusable, *, moved: bool = False, tell: bool = True
    ) -> tuple[Sequence[Outgoing], Letter]:
        """What to write for a record of `topic` that cannot be used: the end of its job, and the letter.

        moved: it comes from a retry topic
        tell:  False leaves its job alone
        Raises Fatal when the stage must stop instead; then nothing may be written or committed.
        """
        where = place_of(record)
        why = dead_letter.printable(str(error))
        if stop := self._limit.buried(topic, error):
            log.critical("%s stops: %s. The record at hand is %s: %s", self._stage, stop, where, why)
            raise Fatal(f"{self._stage} stops: {stop}")
        log.warning("%s: dead letter from %s: %s: %s", self._stage, where, type(error).__name__, why)
        headers = dead_letter.headers(record, self._group, self._stage, error, time.time_ns() // 1_000_000, moved=moved)
        said = self._said(record, error) if tell else ()
        return said, Letter(DeadLetters(topic).name(self._prefix), headers)

    def _said(self, record: Incoming, error: Unusable) -> Sequence[Outgoing]:
        if self._give_up is None:
            return ()
        try:
            said = self._give_up(record, error)
            for out in said:
                out.value()
            return said
        except InvalidMessage:
            return ()  # nobody can tell which job it is about
        except Exception:
            log.exception("%s: cannot end the job of a dead letter", self._stage)
            return ()
