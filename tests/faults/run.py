"""One run: start, send, break, wait until all is quiet, judge, replay everything from offset 0, judge again."""

import json
import os
import platform
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from ops.bus import clients
from ops.settings import Settings
from tests.faults import checker, recovery
from tests.faults.callers import Callers, Receiver
from tests.faults.checker import Violation
from tests.faults.evidence import Evidence, collect, groups, lags
from tests.faults.injector import Injector
from tests.faults.jobs import Asked, workload
from tests.faults.schedule import Dose, cells, schedule
from tests.faults.stack import PROCESSES, STEPS_PER_CHUNK, Say, Stack, stack

QUIET_S = 240.0
"""A run without any progress for so long has lost something: it is judged as it stands."""
SESSIONS_OVER_S = 120.0
EXTRA_EVERY = 4
P95_S, WORST_S = 20.0, 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does. `bug`: a seeded bug of tests/faults/bugs.py, for the check of the checker."""

    jobs: int
    seed: int
    dose: Dose
    cell_rounds: int = 1
    replay: bool = True
    brokers: int = 1
    bug: str = ""
    quiet_s: float = QUIET_S


@dataclass
class Result:
    """What came of a run."""

    plan: Plan
    violations: list[Violation] = field(default_factory=list)
    replayed: list[Violation] = field(default_factory=list)
    """What the replay of everything changed, which must be nothing."""
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        return not self.violations and not self.replayed and not self.figures.get("crash_points_missed")

    def line(self) -> str:
        """The run as one line of JSON."""
        rules = Counter(v.rule for v in (*self.violations, *self.replayed))
        return json.dumps({"clean": self.clean, "seed": self.plan.seed, **self.figures, "violations": dict(rules)})


def run(plan: Plan, folder: Path, say: Say) -> Result:
    """Do it. `folder` keeps logs; it must be on a disk that keeps extended attributes (the S3 server's)."""
    say(f"seed {plan.seed}: {plan.jobs} jobs, {plan.dose}")
    began_s = time.monotonic()
    result = Result(plan)
    with stack(folder, plan.seed, say, plan.brokers) as running, Receiver() as receiver:
        running.bug = plan.bug
        names = [stage if n == 1 else f"{stage}-{n}" for stage, count in PROCESSES.items() for n in range(1, count + 1)]
        faults = schedule(plan.dose, names, plan.seed)
        over_s = max((fault.at_s + fault.length_s for fault in faults), default=10.0)
        running.arm(cells(plan.seed, plan.cell_rounds) if plan.cell_rounds else {})
        asked = workload(plan.jobs, plan.seed, receiver.url)
        callers = Callers(running.settings, asked, over_s * 0.95)
        running.start()
        callers.start()
        injector = Injector(running)
        try:
            injector.run(faults, time.monotonic(), running.advance_cells)
            asked += _settle(running, callers, plan, f"{receiver.url}-more", say)
        finally:
            callers.stop()
        running.stop()
        say(f"{time.monotonic() - began_s:.0f} s: stopped; looking at everything")
        webhooks = _by_job(asked, receiver)
        seen = collect(running, callers.acknowledged, webhooks)
        result.violations = checker.check(asked, seen)
        result.figures = _figures(running, injector, callers, seen, plan)
        if plan.replay and not result.violations:
            say(f"{time.monotonic() - began_s:.0f} s: replaying every topic from offset 0")
            result.replayed = _replay(running, seen, asked, webhooks, say)
        result.figures["took_s"] = round(time.monotonic() - began_s)
    return result


def _settle(running: Stack, callers: Callers, plan: Plan, webhook_url: str, say: Say) -> list[Asked]:
    """Until every job has ended, every group has read to the end and every crash point was hit; more jobs are sent for
    points that wait for work. Returns the jobs that it sent."""
    extra: list[Asked] = []
    spare = iter(workload(4 * plan.jobs + 400, plan.seed + 1_000_000, webhook_url))
    since_s, before = time.monotonic(), None
    while time.monotonic() - since_s < plan.quiet_s:
        left = running.cells_left()
        ended = callers.all_sent and not callers.left()
        behind = lags(running.direct)[0] if ended else {"": 1}
        if ended and not behind and not left:
            break
        now = (len(callers.finished), callers.all_sent, sum(map(len, left.values())), len(callers.acknowledged))
        if (now, len(behind)) != before:
            since_s, before = time.monotonic(), (now, len(behind))
        if left and callers.all_sent and len(callers.left()) < 2 * EXTRA_EVERY:
            more = [next(spare) for _ in range(EXTRA_EVERY)]
            extra += more
            for job in more:
                callers.send(job)
        time.sleep(0.5)  # between two looks; nothing is decided by it
    say(f"settled: {len(callers.finished)} ended, {len(callers.left())} left, cells left {running.cells_left()}")
    return extra


def _by_job(asked: list[Asked], receiver: Receiver) -> dict[str, list[str]]:
    path_of = {a.job: "/hook" + a.request.webhook.url.partition("/hook")[2] for a in asked if a.request.webhook}
    return {job: list(receiver.ids.get(path, ())) for job, path in path_of.items()}


def _figures(running: Stack, injector: Injector, callers: Callers, seen: Evidence, plan: Plan) -> dict[str, Any]:
    settings, done = running.direct, injector.done
    deaths = [(float(str(d["at_s"])), str(d["point"]).partition(".")[0]) for d in running.deaths()]
    kills = sorted([*done.kills, *deaths])
    measured = recovery.recoveries(kills, recovery.commits(settings), recovery.arrivals(settings), done.broker)
    times = [one.seconds for one in measured]
    distinct = len({r.chunk_id for r in seen.rendered if r.status == "rendered"})
    device_kills = sum(name.startswith("render") for _, name in kills) + injector.done.counts["device-kill"]
    broken = sum(job.kind in ("broken-device", "hiccup") for job in callers.jobs)
    states = Counter(done.state for done in seen.finished)
    return {
        "jobs": len(seen.acknowledged),
        "ended": dict(states),
        "random_kills": len(done.kills),
        "crash_point_kills": len(deaths),
        "crash_points_missed": sorted(c for left in running.cells_left().values() for c in left),
        "broker_kills": len(done.broker),
        "faults": dict(done.counts),
        "store_faults": dict(running.proxy.faults),
        "skipped": dict(done.skipped),
        "restarts": running.restarts,
        "rubbish_records": callers.rubbish,
        "dead_letters": dict(seen.dead),
        "dead_letter_reasons": dict(seen.dead_reasons),
        "recovery_s": {
            "measured": len(times),
            "p50": round(recovery.percentile(times, 0.5), 2),
            "p95": round(recovery.percentile(times, 0.95), 2),
            "worst": round(max(times, default=0.0), 2),
            "slowest": [
                f"{m.seconds:g} s: {m.process} killed, {m.topic}[{m.partition}]" for m in sorted(measured)[-3:]
            ],
            "holds": bool(times) and recovery.percentile(times, 0.95) <= P95_S and max(times) <= WORST_S,
        },
        "chunks": {
            "rendered_once": distinct,
            "device_steps_in_chunks": round(running.steps() / STEPS_PER_CHUNK, 1),
            "redone": round(running.steps() / STEPS_PER_CHUNK - distinct, 1),
            "kills_of_a_device": device_kills,
            "jobs_that_break_devices": broken,
        },
        "drains_s": done.drains_s,
        "slow_drains": done.slow_drains,
        "caller_failures": callers.failures[:5],
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    """What a run ran on, for its report."""
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 1),
    }


def _replay(
    running: Stack, before: Evidence, asked: list[Asked], webhooks: dict[str, list[str]], say: Say
) -> list[Violation]:
    """Set every group back to offset 0, let everything come again, and compare."""
    running.arm({})
    rewind(running.direct)
    running.start()
    _until_read(running, say)
    running.stop()
    after = collect(running, before.acknowledged, webhooks)
    found = [Violation("I2", key, "the replay made it") for key in after.objects.keys() - before.objects.keys()]
    found += [
        Violation("I2", key, "the replay changed it")
        for key, digest in before.objects.items()
        if after.objects.get(key) != digest
    ]
    if (more := len(after.finished) - len(before.finished)) != 0:
        found.append(Violation("I3", "", f"the replay added {more} terminal records"))
    return [*found, *checker.check(asked, after)]


def rewind(settings: Settings) -> None:
    """Every stage's group back to the start of every topic. No member may be alive; those that were killed, or whose
    coordinator moved, are members until their sessions run out."""
    admin = clients.admin(settings)
    reader = clients.consumer(settings, f"{settings.prefix}.rewind")
    try:
        known = reader.list_topics(timeout=30).topics
        for group, names in groups(settings).items():
            places = [TopicPartition(name, p, 0) for name in names for p in known[name].partitions]
            until_s = time.monotonic() + SESSIONS_OVER_S
            while (refused := _refused(admin, group, places)) is not None:
                if time.monotonic() > until_s:
                    raise RuntimeError(f"cannot rewind {group}: {refused}")
                time.sleep(1)
    finally:
        reader.close()


def _refused(admin: AdminClient, group: str, places: list[TopicPartition]) -> str | None:
    """Why the offsets of a group could not be set."""
    done = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])
    try:
        answers = done[group].result().topic_partitions
    except KafkaException as exc:
        return str(exc)
    return next((f"{place}: {place.error}" for place in answers if place.error is not None), None)


def _until_read(running: Stack, say: Say) -> None:
    since_s, before = time.monotonic(), -1
    while time.monotonic() - since_s < QUIET_S:
        behind, _ = lags(running.direct)
        if not behind:
            return
        if (left := sum(behind.values())) != before:
            since_s, before = time.monotonic(), left
        time.sleep(1)  # between two looks; nothing is decided by it
    say(f"the replay does not end: {behind}")


def report(result: Result) -> str:
    """For people: every violation, at most forty."""
    found = [*result.violations, *(Violation(v.rule, v.job, f"replay: {v.what}") for v in result.replayed)]
    lines = [f"  {v.rule} {v.job}: {v.what}" for v in found[:40]]
    return "\n".join([f"{len(found)} violations", *lines]) if found else "no violation"


def details(result: Result) -> dict[str, Any]:
    """For a report file."""
    return {"dose": asdict(result.plan.dose), **json.loads(result.line())}
