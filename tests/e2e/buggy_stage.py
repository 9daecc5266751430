"""dispatch or track (argument) with bugs that some jobs bring out, for tests. `deadly`: no job can be ended either."""

import sys
from typing import Any

from ops import settings
from ops.stages import STAGES, load
from stream_processors.dispatch.core import Scheduler
from stream_processors.track import shell as track


def plant(kind: type, method: str, breaks: Any) -> None:
    """Have a method raise first where `breaks(self, *arguments)` says so."""
    sound = getattr(kind, method)

    def buggy(self: Any, *arguments: Any) -> Any:
        if breaks(self, *arguments):
            raise KeyError(f"a bug in {method}")
        return sound(self, *arguments)

    setattr(kind, method, buggy)


def take(states: Any, event: Any, partition: int) -> Any:
    if (event.job, event.type) == ("default/odd", "job.published") or event.job == "default/deadly":
        raise KeyError("a bug in take")
    return sound_take(states, event, partition)


sound_take = track.take
if __name__ == "__main__":
    plant(Scheduler, "on_plan", lambda _, plan, now_ms: plan.job in ("default/bug", "default/deadly"))
    plant(Scheduler, "tick", lambda self, now_ms: "default/tick-bug" in self.jobs)
    plant(Scheduler, "refuse", lambda _, plan, *more: plan.job == "default/deadly")
    track.take = take
    load(STAGES[sys.argv[1]].entry)(settings.load())
