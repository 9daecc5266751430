"""Sends dead letters to their topics again, each once, and remembers it beside the letters.

Claim, send, done: each acknowledged by the broker before the next. What SIGKILL leaves:
    after the claim   nothing was sent, or it was and nobody wrote it down. The next run looks for the record in its
                      topic: there, it writes `done`; not there, it waits until UNSETTLED_MS after the claim, when
                      nothing of the old run can be on its way any more, and takes the letter over.
    after the send    the same; it is found.
No transaction: Faust, which reads half of these topics, knows none, and would act on what was aborted.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from ops.dead_letters.letter import Kind, Letter, Marker, is_replay
from ops.dead_letters.reading import LetterBox, end_of, opened, read_on
from ops.dead_letters.shown import place_of, when
from ops.dead_letters.writing import DELIVERY_MS, Claimed, Writer
from ops.settings import Settings
from schemas.errors import Transient

UNSETTLED_MS = 4 * DELIVERY_MS
"""A run gives up on a record after DELIVERY_MS; what it claimed longer ago than this it can no longer send."""
MOST_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one letter: sent; found, i.e. an earlier run had sent it; or skipped, and why."""

    place: str
    what: Literal["sent", "found", "skipped"]
    why: str = ""
    to: str = ""
    """topic:partition:offset of the record that was sent."""


def obstacle(letter: Letter, prefix: str, again: bool) -> str:
    """Why a letter is not sent, "" when nothing is in the way. Pure."""
    if letter.cut:
        return f"its bytes are not all there (it was cut, {letter.cut})"
    topic, partition, _ = letter.origin
    if topic != letter.of.name(prefix) or partition < 0:
        return f"its headers do not say that it comes from {letter.of.name(prefix)}"
    if letter.replays and not again and letter.claimed is None:
        return f"it was replayed at {when(letter.replays[-1].at_ms)}; --again sends it once more"
    return ""


class Replayer:
    """Replays letters of a box.

    run:        names this run in markers; no two share one
    rate_per_s: most records sent per second
    """

    def __init__(
        self,
        settings: Settings,
        box: LetterBox,
        run: str,
        rate_per_s: float,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._settings, self._box, self._run, self._now_ms = settings, box, run, now_ms
        self._gap_s = 1 / rate_per_s
        self._writer = Writer(settings)
        self._at_once = max(1, min(MOST_AT_ONCE, int(rate_per_s)))

    def replay(self, letters: Sequence[Letter], again: bool = False) -> Iterator[Outcome]:
        """One outcome per letter, as soon as it is certain. Raises Transient when the broker does not answer; what is
        not certain then is settled by the next run."""
        ordered = sorted(letters, key=lambda one: (one.record.topic, one.record.partition, one.record.offset))
        for _, group in groupby(ordered, key=lambda one: (one.record.topic, one.record.partition)):
            those = list(group)
            for first in range(0, len(those), self._at_once):
                yield from self._some(those[first : first + self._at_once], again)

    def _some(self, letters: Sequence[Letter], again: bool) -> Iterator[Outcome]:
        """Letters of one partition."""
        wanted: list[Letter] = []
        for letter in letters:
            if why := obstacle(letter, self._settings.prefix, again):
                yield Outcome(place_of(letter), "skipped", why)
            elif (claim := letter.claimed) is not None and (settled := self._settled(letter, claim)) is not None:
                yield settled
            else:
                wanted.append(letter)
        if not wanted:
            return
        mine = self._claim(wanted)
        taken = {id(letter) for letter, _ in mine}
        for letter in wanted:
            if id(letter) not in taken:
                yield Outcome(place_of(letter), "skipped", "another run was faster and sends it")
        yield from self._send(mine)

    def _settled(self, letter: Letter, claim: Marker) -> Outcome | None:
        """What became of a claim that nobody closed; None when its letter is free to take."""
        found = self._arrived(letter, claim)
        if found >= 0:
            self._writer.mark([(letter, self._step("done", letter, claim, found))])
            return Outcome(place_of(letter), "found", "an earlier run had sent it", self._at(letter, claim, found))
        left_ms = claim.at_ms + UNSETTLED_MS - self._now_ms()
        if left_ms <= 0:
            return None
        why = f"the run that claimed it at {when(claim.at_ms)} may still send it; try again in {left_ms // 1000 + 1} s"
        return Outcome(place_of(letter), "skipped", why)

    def _arrived(self, letter: Letter, claim: Marker) -> int:
        """Offset of the record that a claim's run sent; -1 when it is not in its topic."""
        where = letter.of.name(self._settings.prefix), claim.partition
        consumer = opened(self._settings)
        try:
            sent = (r.offset for r in read_on(consumer, {where: claim.to}) if is_replay(r, letter, claim))
            return next(sent, -1)
        finally:
            consumer.close()

    def _claim(self, letters: Sequence[Letter]) -> list[Claimed]:
        """Those of the letters that this run has now, with its claims."""
        topic, partition = letters[0].record.topic, letters[0].record.partition
        consumer = opened(self._settings)
        try:
            ends = {p: end_of(consumer, letters[0].of.name(self._settings.prefix), p) for p in _targets(letters)}
        finally:
            consumer.close()
        now_ms = self._now_ms()
        claims = [
            Marker("claim", one.record.offset, self._run, one.last, now_ms, one.origin[1], ends[one.origin[1]])
            for one in letters
        ]
        offsets = self._writer.mark(list(zip(letters, claims, strict=True)))
        self._box.refresh([(topic, partition)])
        return [
            (letter, letter.claimed)
            for letter, offset in zip(letters, offsets, strict=True)
            if letter.claimed is not None and letter.claimed.offset == offset
        ]

    def _send(self, mine: Sequence[Claimed]) -> Iterator[Outcome]:
        done = self._writer.send(mine, lambda: time.sleep(self._gap_s))
        sent = [(letter, claim, done.landed[claim.of]) for letter, claim in mine if claim.of in done.landed]
        steps = [(letter, self._step("done", letter, claim, offset)) for letter, claim, offset in sent]
        # Given back at once, so that the next run need not wait.
        steps += [(one, self._step("void", one, claim, -1)) for one, claim in mine if claim.of in done.not_sent]
        self._writer.mark(steps)
        for letter, claim, offset in sent:
            yield Outcome(place_of(letter), "sent", to=self._at(letter, claim, offset))
        if done.interrupted:
            raise KeyboardInterrupt
        if len(sent) < len(mine):
            raise Transient(f"{len(mine) - len(sent)} of {len(mine)} letters are not certain to be sent: {done.why}")

    def _step(self, kind: Kind, letter: Letter, claim: Marker, to: int) -> Marker:
        return Marker(kind, letter.record.offset, self._run, claim.offset, self._now_ms(), claim.partition, to)

    def _at(self, letter: Letter, claim: Marker, offset: int) -> str:
        return f"{letter.of.name(self._settings.prefix)}:{claim.partition}:{offset}"


def _targets(letters: Sequence[Letter]) -> set[int]:
    return {letter.origin[1] for letter in letters}
