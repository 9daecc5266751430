"""Mistakes that a programmer could make, planted into the real code of a test build: the checker must see them.

One small function each; `plant` runs before the stage is imported. A circumstance is no mistake: it is what the mistake
needs to come out (a slow record, a send that fails once, a crash at one moment). It is planted in the run with the
mistake and in the clean run beside it.
"""

from collections.abc import Callable, Mapping

from tests.faults.bugs import circumstances, consuming, content, publishing

Plant = Callable[[str], None]
"""Takes the name of the stage that this process runs."""
MISTAKES: Mapping[str, Plant] = {**consuming.MISTAKES, **publishing.MISTAKES, **content.MISTAKES}
CIRCUMSTANCES: Mapping[str, Plant] = circumstances.ALL


def plant(names: str, stage: str) -> None:
    """Plant mistakes and circumstances, by name, separated by commas."""
    for name in names.split(","):
        (MISTAKES.get(name) or CIRCUMSTANCES[name])(stage)
