"""Sends the records to a running pipeline, never many ahead of what it has read, and looks at what became of them."""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from ops import topics_admin
from ops.bus import clients, table
from ops.local.supervisor import Supervisor
from ops.settings import Settings
from ops.stages import STAGES
from producers.client import Operator
from schemas.codec import decode, encode
from schemas.errors import Transient
from schemas.events import JobEvent
from schemas.ids import job_key
from schemas.records import Incoming
from schemas.topics import JOBS_EVENTS, DeadLetters, Topic
from tests.e2e.fake_model import registry
from tests.e2e.reading import group_of, read_all
from tests.faults.recovery import arrivals, commits
from tests.fuzz.records import COMMITTED, JOB_EVERY, NUMBER, Sent, job, records, topics

AHEAD = 40
"""Records of a stage that may be unread: so few that waiting for each other is no stall."""
DRAIN_S = 120.0
STUCK_S = 120.0
JOBS_S = 300.0
STALL_BAR_S = 1.0
REGISTRY = registry(name="shapes", revision="sha256:9f61f17fe9eb2d8f", steps=8, guidance=2.0, cost_s=0.01)
Place = tuple[str, int]


@dataclass
class Report:
    """Figures of a run. Zero is what must be in exits, unaccounted, letters_of_good_jobs and jobs_unfinished."""

    seed: int
    records: int
    topics: int
    undecodable: int = 0
    dead_letters: int = 0
    rejections: int = 0
    unaccounted: int = 0
    """Undecodable records that are neither a dead letter nor, where callers write, a rejection."""
    not_sent: int = 0
    """Records that no stage could be given, because none read on."""
    unread: int = 0
    """Records that no stage had read in time."""
    exits: dict[str, int] = field(default_factory=dict)
    jobs: int = 0
    jobs_unfinished: list[str] = field(default_factory=list)
    stalls_over_bar: int = 0
    worst_stall_s: float = 0.0
    stalls: list[dict[str, Any]] = field(default_factory=list)
    """The longest waits of a partition between two commits while a record lay there."""
    p99_wait_s: float = 0.0
    waits: int = 0
    wall_s: float = 0.0
    load_1min: float = 0.0
    examples: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing was lost and nothing ended. Stalls are judged by the command only."""
        return not (
            self.unaccounted or self.unread or self.not_sent or any(self.exits.values()) or self.jobs_unfinished
        )


def settings_in(folder: Path, bootstrap_servers: str, prefix: str) -> Settings:
    """Settings of a run, topics applied. The dead-letter stop is off: nearly all records here are bad."""
    models = folder / "registry.toml"
    models.write_text(REGISTRY)
    made = Settings(
        bootstrap_servers=bootstrap_servers, prefix=prefix, store=str(folder / "store"), data_dir=str(folder / "data"),
        registry=str(models), dead_letter_max_share=0, dead_letter_max_run=0,
    )  # fmt: skip
    topics_admin.apply(made, topics_admin.plan(made))
    return made


class Lags:
    """How many records of a stage are unread, by what its group has committed."""

    def __init__(self, settings: Settings) -> None:
        self.stage_of = {t: s.name for s in STAGES.values() for t in s.reads if t in COMMITTED}
        self._consumers: dict[str, Consumer] = {}
        self._places: dict[str, list[TopicPartition]] = defaultdict(list)
        self.sent: dict[Place, int] = {}
        """Offset after the last record that this run has sent there."""
        for topic, stage in self.stage_of.items():
            if stage not in self._consumers:
                self._consumers[stage] = clients.consumer(settings, group_of(settings, stage))
            name = topic.name(settings.prefix)
            count = table.partition_count(self._consumers[stage], name)
            self._places[stage] += [TopicPartition(name, p) for p in range(count)]

    def of(self, stage: str) -> int:
        found = self._consumers[stage].committed(self._places[stage], timeout=60)
        return sum(max(0, self.sent.get((p.topic, p.partition), 0) - max(p.offset, 0)) for p in found)

    def close(self) -> None:
        for consumer in self._consumers.values():
            consumer.close()


@contextmanager
def pipeline(settings: Settings) -> Iterator[Supervisor]:
    """All stages, and one job done, so that everything is warm."""
    with Supervisor([(name, 1) for name in STAGES], settings, report=print) as supervisor, Operator(settings) as client:
        _, request = job(0)
        state = client.wait(client.submit(request), timeout_s=JOBS_S)
        assert state.state == "completed", state.reason
        yield supervisor


def fuzz(settings: Settings, seed: int, count: int, say: Any = lambda text: None, job_every: int = JOB_EVERY) -> Report:
    """One run. The pipeline is started and stopped in it. job_every: good jobs between the records; 0: none."""
    began_s = time.monotonic()
    report = Report(seed=seed, records=count, topics=len(topics()))
    sent = list(records(seed, count))
    report.undecodable = sum(one.bad for one in sent)
    with pipeline(settings) as supervisor:
        lags = Lags(settings)
        try:
            since_s = time.time()
            jobs = _send(settings, sent, lags, report, say, job_every)
            _drain(lags, report, say)
            report.jobs_unfinished = _unfinished(settings, jobs)
            report.jobs = len(jobs)
            _account(settings, sent, report)
        finally:
            lags.close()
        report.exits = {one.name: one.restarts for one in supervisor.status()}
    _waits(settings, since_s, report)
    report.wall_s = round(time.monotonic() - began_s, 1)
    report.load_1min = round(os.getloadavg()[0], 1)
    return report


def _send(settings: Settings, sent: Sequence[Sent], lags: Lags, report: Report, say: Any, job_every: int) -> list[str]:
    """Stage by stage up to AHEAD, so that a slow one does not hold up the others. Returns the good jobs."""
    producer = clients.producer(settings)
    queues: dict[str, list[Sent]] = defaultdict(list)
    for one in reversed(sent):
        queues[lags.stage_of.get(one.topic, "dispatch")].append(one)
    jobs: list[str] = []
    done = told = 0
    news_s = time.monotonic()
    while any(queues.values()) and time.monotonic() - news_s < STUCK_S:
        for stage, queue in queues.items():
            room = AHEAD - lags.of(stage) if queue else 0
            for _ in range(min(room, len(queue))):
                _produce(settings, producer, queue.pop(), lags)
                done += 1
                news_s = time.monotonic()
                if job_every and done % job_every == 0:
                    jobs.append(_submit(settings, producer, done // job_every, lags))
            producer.flush(60)
        report.not_sent = len(sent) - done
        if done - told >= 5000:
            told = done
            say(f"{done} of {len(sent)} records sent")
    return jobs


def _produce(settings: Settings, producer: Producer, one: Sent, lags: Lags) -> None:
    def told(error: Any, message: Any) -> None:
        assert error is None, error
        place = message.topic(), message.partition()
        lags.sent[place] = max(lags.sent.get(place, 0), message.offset() + 1)

    headers: list[Any] = one.headers
    producer.produce(one.topic.name(settings.prefix), one.value, one.key, headers=headers, on_delivery=told)


def _submit(settings: Settings, producer: Producer, number: int, lags: Lags) -> str:
    topic, request = job(number)
    _produce(settings, producer, Sent(-1, topic, request.job_id.encode(), encode(request), [], False), lags)
    return job_key(request.tenant, request.job_id)


def _drain(lags: Lags, report: Report, say: Any) -> None:
    until_s = time.monotonic() + DRAIN_S
    stages = set(lags.stage_of.values())
    while (left := {s: lag for s in stages if (lag := lags.of(s))}) and time.monotonic() < until_s:
        time.sleep(0.2)
    report.unread = sum(left.values())
    if left:
        say(f"unread: {left}")


def _unfinished(settings: Settings, jobs: Sequence[str]) -> list[str]:
    left = []
    with Operator(settings) as client:
        for name in jobs:
            try:
                state = client.wait(name, timeout_s=JOBS_S)
            except Transient as exc:
                left.append(str(exc))
            else:
                if state.state != "completed":
                    left.append(f"{name}: {state.state} {state.reason}")
    return left


def _account(settings: Settings, sent: Sequence[Sent], report: Report) -> None:
    """Every record that cannot be decoded is a dead letter of its topic, or was refused by name."""
    letters: dict[Topic, set[int]] = {}
    until_s = time.monotonic() + DRAIN_S
    while True:
        letters = {topic: {_number(r) for r in read_all(settings, DeadLetters(topic))} for topic in topics()}
        rejected = {_ce_id(decode(JobEvent, r.value)) for r in _readable(settings)}
        missing = [one for one in sent if one.bad and one.number not in letters[one.topic] | rejected]
        # What is not committed (workers.state) is a moment behind at most.
        if not missing or time.monotonic() > until_s:
            break
        time.sleep(1.0)
    report.dead_letters = sum(len(found) for found in letters.values())
    report.rejections = len(rejected)
    report.unaccounted = len(missing)
    report.examples = [f"{m.number} {m.topic.entity}: {(m.value or b'')[:80]!r}" for m in missing[:10]]


def _readable(settings: Settings) -> Iterator[Incoming]:
    """Events that moderate wrote, not those that the run made up."""
    for record in read_all(settings, JOBS_EVENTS):
        if dict(record.headers).get("ce_source", b"").endswith(b"moderate") and record.value:
            yield record


def _ce_id(event: JobEvent) -> int:
    return int(event.origin.ce_id) if event.type == "job.rejected" and event.origin.ce_id.isdigit() else -1


def _number(record: Incoming) -> int:
    found = next((value for name, value in record.headers if name == NUMBER), b"")
    return int(found) if found.isdigit() else -1


def _waits(settings: Settings, since_s: float, report: Report) -> None:
    """How long a partition had a record and committed nothing, by the broker's own time stamps of both."""
    came = arrivals(settings)
    at: dict[tuple[str, str, int], tuple[int, float]] = {}
    waits: list[tuple[float, str, int, str, int]] = []
    for commit in commits(settings):
        before, then_s = at.get(commit.place, (0, 0.0))
        group, topic, partition = commit.place
        arrived = came.get((topic, partition), [])
        if commit.offset > before and before < len(arrived) and commit.at_s >= since_s:
            waits.append((commit.at_s - max(then_s, arrived[before], since_s), group, partition, topic, before))
        at[commit.place] = (max(before, commit.offset), commit.at_s)
    waits.sort(reverse=True)
    report.waits = len(waits)
    report.stalls_over_bar = sum(wait[0] > STALL_BAR_S for wait in waits)
    report.worst_stall_s = round(waits[0][0], 3) if waits else 0.0
    report.p99_wait_s = round(waits[len(waits) // 100][0], 3) if waits else 0.0
    report.stalls = [
        {"s": round(s, 3), "group": group, "topic": topic, "partition": partition, "offset": offset}
        for s, group, partition, topic, offset in waits[:20]
    ]


def by_group(report: Report) -> Counter[str]:
    return Counter(one["group"] for one in report.stalls)
