"""How a stage that writes in transactions takes records in: one by one, with bad ones buried and bugs remembered.

State is in memory, so after an exception that nobody foresaw it may be half changed: the process ends, and the next one
begins from what was committed. The record that did it is noted beside the committed offset before that (tries.py); at
its fourth turn it is buried unseen. What only shows after several records were taken in, in a later step or when the
transaction is written, is put down to none of them: the next process reads one record at a time until it is past them.
"""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NoReturn

from confluent_kafka import Consumer, TopicPartition

from ops.bus import clients, dead_letter
from ops.bus.burial import Burial, Unusable
from ops.bus.offsets import Offsets, Place
from ops.bus.sending import place_of
from ops.bus.transaction import Commit, Dead
from ops.bus.tries import MAX_TRIES, Notes, described, spent
from ops.settings import Settings
from schemas.errors import Bug, Fatal, InvalidMessage, Transient
from schemas.records import Incoming, Outgoing
from schemas.topics import Topic

log = logging.getLogger(__name__)

Take = Callable[[Incoming], Sequence[Outgoing]]
End = Callable[[Incoming, Unusable], Sequence[Outgoing]]


class Fold:
    """topics:  by full name
    end:     takes a record that is given up, so that its job ends; called like the stage's own step
    passing: topics whose offsets nobody commits; a record of theirs at which there is a bug is buried at once
    """

    def __init__(
        self,
        settings: Settings,
        stage: str,
        consumer: Consumer,
        topics: Mapping[str, Topic],
        end: End,
        passing: Collection[Topic] = (),
    ) -> None:
        self._stage, self._topics, self._end, self._passing = stage, topics, end, passing
        self._offsets = Offsets(consumer, stage)
        self._burial = Burial(settings, stage, clients.group_id(settings, stage), None)
        self._notes: dict[Place, Notes] = {}

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Read what is known of the records of these partitions."""
        self._notes.update(self._offsets.notes(partitions))

    def gone(self, partitions: Sequence[TopicPartition]) -> None:
        """These partitions belong to somebody else."""
        for p in partitions:
            self._notes.pop((p.topic, p.partition), None)

    @property
    def careful(self) -> bool:
        """A record ahead ended an earlier process: read one at a time, or a good one is taken for the bad one."""
        return any(self._notes.values())

    def take(self, records: Sequence[Incoming], take: Take) -> tuple[list[Outgoing], list[Dead]]:
        """What to write for these records, and their dead letters. Raises Fatal when the process must end."""
        out: list[Outgoing] = []
        dead: list[Dead] = []
        for record in records:
            try:
                self._one(record, take, out, dead)
            except (Transient, Fatal):
                raise
            except Exception as exc:
                self._blame(records, record, exc)
        return out, dead

    def _one(self, record: Incoming, take: Take, out: list[Outgoing], dead: list[Dead]) -> None:
        notes = self._notes.get((record.topic, record.partition), Notes())
        if (tries := notes.tries(record.offset)) >= MAX_TRIES:
            # The first time its job is ended. If even that is too much, the second time nothing is said.
            self._bury(record, spent(notes.why(record.offset), self._stage), out, dead, tell=tries == MAX_TRIES)
            return
        try:
            out += take(record)
        except InvalidMessage as exc:
            self._bury(record, exc, out, dead, tell=True)
        except (Transient, Fatal):
            raise
        except Exception as exc:
            if self._topics[record.topic] not in self._passing:
                raise
            log.exception("%s: a bug at %s", self._stage, place_of(record))
            self._bury(record, Bug(f"{self._stage} raised {described(exc)}"), out, dead, tell=False)
        else:
            self._burial.passed()

    def _bury(self, record: Incoming, error: Unusable, out: list[Outgoing], dead: list[Dead], *, tell: bool) -> None:
        _, letter = self._burial.bury(self._topics[record.topic], record, error)
        if tell:
            with contextlib.suppress(InvalidMessage):  # nobody can tell which job it is about
                out += self._end(record, error)
        short, headers = dead_letter.fitting(record, letter.headers)
        dead.append(Dead(letter.topic, short.key, short.value, headers))

    # ---- after the records -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def after(self, records: Sequence[Incoming]) -> Iterator[list[Commit]]:
        """The block does what follows from these records and commits the offsets that it is given."""
        done: dict[Place, Commit] = {}
        for record in records:
            if self._topics[record.topic] not in self._passing:
                place = record.topic, record.partition
                notes = self._notes.setdefault(place, Notes())
                done[place] = Commit(*place, record.offset + 1, notes.text_from(record.offset + 1))
        try:
            yield list(done.values())
        except (Transient, Fatal):
            raise
        except Exception as exc:
            self._suspect(records, exc)
        for place, commit in done.items():
            self._notes[place].forget_below(commit.offset)

    def _suspect(self, records: Sequence[Incoming], error: Exception) -> NoReturn:
        lasting = [r for r in records if self._topics[r.topic] not in self._passing]
        if self.careful and len(records) == 1 and lasting:
            self._blame(records, records[0], error)
        log.error("%s: %s, after %d records", self._stage, described(error), len(records), exc_info=error)
        for place in {(r.topic, r.partition) for r in lasting}:
            self._notes[place].suspect(max(r.offset for r in lasting if (r.topic, r.partition) == place))
            self._write(lasting, place)
        raise Fatal(f"{self._stage} has a bug: {described(error)}") from error

    def _blame(self, records: Sequence[Incoming], record: Incoming, error: Exception) -> NoReturn:
        place = record.topic, record.partition
        notes = self._notes.setdefault(place, Notes())
        tries, why = notes.tries(record.offset) + 1, described(error)
        log.error("%s: try %d of %s: %s", self._stage, tries, place_of(record), why, exc_info=error)
        notes.put(record.offset, tries, why)
        self._write(records, place)
        raise Fatal(f"{self._stage} has a bug at {place_of(record)}, try {tries} of {MAX_TRIES}: {why}") from error

    def _write(self, records: Sequence[Incoming], place: Place) -> None:
        """All before the first of these records is done with, so its offset is the committed one."""
        first = min(r.offset for r in records if (r.topic, r.partition) == place)
        self._offsets.commit(*place, first, self._notes[place], wait_for_it=True)
