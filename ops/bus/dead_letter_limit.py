"""When a stage makes so many dead letters that it had better stop: then the fault is ours, not the records'. Pure.

After arroyo's DlqLimit: a bad release, or a policy file that nobody can satisfy, must not turn a whole topic into dead
letters while nobody looks.
"""

from collections import deque

from schemas.errors import InvalidMessage
from schemas.topics import FED_BY_CALLERS, Topic

MIN_RECORDS = 100
"""A share means something from here on."""
WINDOW_RECORDS = 1000
"""The share is that of this many last records."""
HINT = "see docs/how-to/when-something-breaks.md, A stage that stopped by itself"


class DeadLetterLimit:
    """Counts the records of one process.

    max_share: most dead letters among the last records, 0 to 1; 0 switches it off
    max_run:   this many in a row are too many; 0 switches it off
    """

    def __init__(self, max_share: float, max_run: int) -> None:
        self._max_share, self._max_run = max_share, max_run
        self._window: deque[bool] = deque(maxlen=WINDOW_RECORDS)
        self._dead = 0
        self._run = 0

    def passed(self) -> None:
        """A record was handled."""
        self._run = 0
        self._note(False)

    def buried(self, topic: Topic, error: Exception) -> str:
        """A record of `topic` is to become a dead letter. Returns why the stage must stop instead, "" to go on.

        What callers send must not stop a stage for everybody: where they decide whether a record can be used, only
        errors of ours count. What does not count is no good record either: it changes nothing.
        """
        if topic in FED_BY_CALLERS and isinstance(error, InvalidMessage):
            return ""
        self._run += 1
        self._note(True)
        if 0 < self._max_run <= self._run:
            return f"{self._run} dead letters in a row; {HINT}"
        seen = len(self._window)
        if self._max_share > 0 and seen >= MIN_RECORDS and self._dead > self._max_share * seen:
            return f"{self._dead} of the last {seen} records would be dead letters; {HINT}"
        return ""

    def _note(self, dead: bool) -> None:
        if len(self._window) == WINDOW_RECORDS:
            self._dead -= self._window[0]
        self._window.append(dead)
        self._dead += dead
