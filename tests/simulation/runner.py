"""Runs programs and tells which one failed, so that it replays bit for bit."""

import ast
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

from hypothesis import HealthCheck, Phase, reproduce_failure, seed, settings
from hypothesis import __version__ as HYPOTHESIS
from hypothesis.internal.conjecture import providers
from hypothesis.reporting import with_reporter
from hypothesis.stateful import get_state_machine_test

from tests.simulation.machine import Simulation

STEPS = 50
_BLOB = re.compile(r"@reproduce_failure\('[^']+', (b'[^']*')\)")


@dataclass(frozen=True, slots=True)
class Failure:
    """blob: the smallest failing program, for `replay`."""

    seed: int
    blob: bytes
    what: str
    program: str
    programs: int


def machine(bugs: Iterable[str] = (), *, keep_digests: bool = False) -> type[Simulation]:
    """A class of its own, so that counts and digests of two runs do not mix."""
    counts = dict.fromkeys(Simulation.counts, 0)
    fields = {"bugs": frozenset(bugs), "keep_digests": keep_digests, "digests": [], "counts": counts}
    return type("Simulation", (Simulation,), fields)


@contextmanager
def _no_constants_of_ours() -> Iterator[None]:
    """hypothesis draws numbers and strings that it finds in whatever modules of ours are loaded. A seed would then mean
    other programs in a whole test run than alone."""
    none = providers.Constants()
    providers.CONSTANTS_CACHE.cache.clear()
    with mock.patch.object(providers, "_get_local_constants", return_value=none):
        yield
    providers.CONSTANTS_CACHE.cache.clear()


def run(
    kind: type[Simulation], seed_: int, programs: int, *, steps: int = STEPS, shrink: bool = True
) -> Failure | None:
    """Run so many programs of up to STEPS rules. Returns the first failure (shrunk unless told otherwise)."""
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    rules = settings(
        max_examples=programs,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=phases,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    try:
        with _no_constants_of_ours(), with_reporter(lambda _: None):
            seed(seed_)(get_state_machine_test(kind, settings=rules))()
    except Exception as exc:
        notes = "\n".join(getattr(exc, "__notes__", ()))
        found = _BLOB.search(notes)
        blob = b"" if found is None else ast.literal_eval(found[1])
        programs = kind.counts["programs"]
        _, program = replay(kind, blob)
        return Failure(seed_, blob, f"{type(exc).__name__}: {exc}".partition("\n")[0], program, programs)
    return None


def replay(kind: type[Simulation], blob: bytes) -> tuple[str, str]:
    """Run the one program of a blob. Returns what failed (an empty string: nothing) and the program in words."""
    rules = settings(
        stateful_step_count=STEPS, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )  # fmt: skip
    test = reproduce_failure(HYPOTHESIS, blob)(get_state_machine_test(kind, settings=rules))
    said: list[str] = []
    try:
        with with_reporter(lambda text: said.append(str(text))):
            test()
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}".partition("\n")[0], _told(said)
    return "", _told(said)


def _told(said: list[str]) -> str:
    """The program, one rule a line, without the checks between them."""
    lines = [line for text in said for line in text.splitlines()]
    return "\n".join(line for line in lines if line.startswith("state.") and "holds" not in line)
