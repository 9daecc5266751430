"""Is the checker able to fail?

Mistakes are planted into the real pipeline one by one; each must be found by the rule that it breaks, and the same
scenario without a mistake must be clean. One broker and one S3 server serve all runs; each run has a prefix and a
bucket of its own.
"""

import json
import re
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ops.garbage.collecting import collect as collect_garbage
from ops.storage.open import open_store
from schemas.topics import DAY_MS
from tests.faults import checker
from tests.faults.bugs.publishing import deletes_published
from tests.faults.callers import Callers, Receiver
from tests.faults.checker import Violation
from tests.faults.evidence import collect, lags
from tests.faults.run import machine
from tests.faults.scenarios import BUGS, SCENARIOS, Bug, Scenario
from tests.faults.shared import Services, delete_topics, installation, services
from tests.faults.stack import Say, Stack

REST_S = 45.0
"""A run is judged when for so long everything was read, nothing happened, and still jobs have not ended ..."""
STUCK_S = 75.0
"""... or when for so long nothing happened although there are records to read."""
LONGEST_S = 400.0
COLLECTING = threading.Lock()
"""Its mistake is planted in this process, which a clean collection beside it must not meet."""
LOOK_EVERY_S = 1.0
KILL_AFTER_S = 6.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run.

    rule:   that was expected, empty for a clean run
    caught: the mistake was found, or the clean run is clean
    """

    bug: str
    scenario: str
    caught: bool
    rule: str
    violations: dict[str, int]
    said: str
    """The violation that counts, or the first of those that should not be."""
    took_s: float


def one(shared: Services, name: str, scenario: Scenario, bug: Bug | None, say: Say) -> tuple[list[Violation], bool]:
    """Run a scenario. Returns what is wrong, and whether everything was read."""
    running = installation(shared, name, scenario, say)
    running.bug = ",".join([*([bug.name] if bug else []), *scenario.circumstances])
    wanted = bug.cells if bug and bug.cells is not None else [c for cells in scenario.cells.values() for c in cells]
    running.arm({stage: [c for c in cells if c in wanted] for stage, cells in scenario.cells.items()})
    with Receiver() as receiver:
        asked = scenario.jobs(receiver.url)
        callers = Callers(running.settings, asked, over_s=1.0)
        running.start()
        callers.start()
        try:
            _kill_after(running, *scenario.kill_after)
            done = _settle(running, callers, endless=bug is not None and bug.endless)
        finally:
            callers.stop()
            running.stop(60.0) if bug is None else running.kill_all()
        if scenario.collects:
            with COLLECTING, deletes_published() if bug else nullcontext():
                late_ms = time.time_ns() // 1_000_000 + 2 * DAY_MS
                collect_garbage(running.direct, open_store(running.direct), late_ms)
        paths = {a.job: "/hook" + a.request.webhook.url.partition("/hook")[2] for a in asked if a.request.webhook}
        webhooks = {job: list(receiver.ids.get(path, ())) for job, path in paths.items()}
        seen = collect(running, callers.acknowledged, webhooks)
    found = checker.check(asked, seen)
    if bug is None and not done:
        found.append(Violation("I5", "", f"did not come to an end; crash points not hit: {running.cells_left()}"))
    return found, not seen.lags


def _kill_after(running: Stack, process: str, marker: str) -> None:
    """SIGKILL to a process some seconds after a file says that the moment has come."""
    if not process:
        return
    until_s = time.monotonic() + LONGEST_S
    while not (running.folder / marker).exists() and time.monotonic() < until_s:
        time.sleep(0.1)
    time.sleep(KILL_AFTER_S)  # the others are acknowledged and committed meanwhile; the slow one is still at work
    running.signal(process, signal.SIGKILL)


def _settle(running: Stack, callers: Callers, *, endless: bool) -> bool:
    """Until every job has ended, everything is read and every crash point hit (True), or nothing happens any more.

    endless: something goes round for ever, so only ends of jobs count as happening
    """
    began_s = since_s = time.monotonic()
    before: object = None
    while time.monotonic() - began_s < LONGEST_S:
        time.sleep(LOOK_EVERY_S)  # between two looks; nothing is decided by it
        cells = running.cells_left()
        # Before the first job has ended, groups are still made.
        behind = lags(running.direct)[0] if callers.finished or time.monotonic() - began_s > STUCK_S else {"": 1}
        if callers.all_sent and not callers.left() and not behind and not cells:
            return True
        now = len(callers.acknowledged), len(callers.finished), cells, None if endless else behind
        if now != before:
            since_s, before = time.monotonic(), now
        if time.monotonic() - since_s > (STUCK_S if behind or endless else REST_S):
            break
    return False


def judged(bug: Bug, found: Sequence[Violation], at_rest: bool) -> Violation | None:
    """The violation by which a mistake is caught."""
    if bug.at_rest and not at_rest:
        return None
    return next((v for v in found if v.rule == bug.rule and re.search(bug.says, v.what)), None)


def check_one(shared: Services, scenario: str, bug: Bug | None, say: Say) -> Outcome:
    """One run, judged."""
    began_s = time.monotonic()
    name = bug.name if bug else f"clean-{scenario}"
    found, at_rest = one(shared, name, SCENARIOS[scenario], bug, say)
    delete_topics(shared, f"s-{name}")
    shown = judged(bug, found, at_rest) if bug else next(iter(found), None)
    caught = shown is not None if bug else not found
    shown = shown or next(iter(found), None)
    outcome = Outcome(
        bug=bug.name if bug else "",
        scenario=scenario,
        caught=caught,
        rule=bug.rule if bug else "",
        violations=dict(Counter(v.rule for v in found)),
        said=f"{shown.rule} {shown.job}: {shown.what}" if shown else "",
        took_s=round(time.monotonic() - began_s, 1),
    )
    say(f"{'ok  ' if caught else 'FAIL'} {name}: {outcome.violations} {outcome.said} ({outcome.took_s:.0f} s)")
    if not caught:
        for violation in found[:20]:
            say(f"       {violation.rule} {violation.job}: {violation.what}")
    return outcome


def summary(outcomes: Sequence[Outcome], took_s: float) -> dict[str, object]:
    """All runs as one object. took_s: of all together, which is less than the sum when they run side by side."""
    planted = [o for o in outcomes if o.bug]
    clean = [o for o in outcomes if not o.bug]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "bugs": len(planted),
        "caught": sum(o.caught for o in planted),
        "clean_runs": len(clean),
        "clean_runs_clean": sum(o.caught for o in clean),
        "took_s": round(took_s),
        "runs": [asdict(o) for o in outcomes],
    }


def main(seed: int, report: Path | None, say: Say, only: Sequence[str] = (), at_once: int = 1) -> int:
    """Every scenario without a mistake, then every mistake. One JSON line on stdout; 0 only if the checker is right in
    every case.

    only:    names of mistakes, and clean-SCENARIO
    at_once: runs side by side; each mostly waits
    """
    folder = Path(tempfile.mkdtemp(prefix="reelbus-selfcheck-"))
    say(f"logs are in {folder}")
    runs: list[tuple[str, Bug | None]] = [(scenario, None) for scenario in SCENARIOS]
    runs += [(bug.scenario, bug) for bug in BUGS]
    runs = [(scenario, bug) for scenario, bug in runs if not only or (bug.name if bug else f"clean-{scenario}") in only]
    outcomes: list[Outcome] = []
    began_s = time.monotonic()
    with services(folder, seed, say) as shared, ThreadPoolExecutor(at_once) as threads:
        for outcome in threads.map(lambda run: check_one(shared, *run, say), runs):
            outcomes.append(outcome)
            if report is not None:
                report.write_text(json.dumps(summary(outcomes, time.monotonic() - began_s), indent=1) + "\n")
    print(
        json.dumps({k: v for k, v in summary(outcomes, time.monotonic() - began_s).items() if k != "runs"}), flush=True
    )
    right = all(outcome.caught for outcome in outcomes)
    if right:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if right else 1
