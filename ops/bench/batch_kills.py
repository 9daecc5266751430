"""A batch that is killed at random while it is sent, and started again each time: is every row one job, and only one?

`reelbus batch submit` runs as a process, is killed (SIGKILL) at a random moment after it has begun to send, and is
started again with the same command; the last time nobody kills it. Meanwhile the real moderate stage answers. Then all
topics are read: every id has one sequence of bytes, however often it was sent, and exactly the right rows are accepted.
"""

import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops import topics_admin
from ops.bench.batch_rows import write_rows
from ops.bus import clients
from ops.local.kafka import LocalKafka
from ops.settings import Settings
from producers.batch.files import load, path_of
from producers.client.reader import TopicReader, partitions_of
from schemas.events import JobEvent
from schemas.topics import JOBS_EVENTS, JOBS_REQUESTED, Topic

ROWS, QUICK_ROWS = 100_000, 5_000
KILLS, QUICK_KILLS = 20, 5
LATEST_KILL_S = 3.0
"""A kill comes up to so long after the first job of a run."""
SLOW_S = 33
"""While it is killed it sends at a rate that would take so long for all rows."""
BATCH = "killed"
GIVE_UP_S = 120.0
"""Without anything new."""


@dataclass(slots=True)
class Outcome:
    """What came of it. Every number is counted from the topics, but the last two of the batch itself."""

    right: int
    """Rows that are jobs."""
    wrong: int
    kills: int = 0
    records: int = 0
    """On the request topics, those that were sent again too."""
    ids: int = 0
    ids_with_other_bytes: int = 0
    accepted: int = 0
    """Distinct jobs that moderate accepted."""
    refused_by_moderate: int = 0
    told_wrong: int = 0
    """Lines of the error file."""
    told_sent: int = 0
    """What the checkpoint says at the end."""
    took_s: float = 0.0
    seed: int = 0
    done_at_kill: list[int] = field(default_factory=list)
    """Jobs that the checkpoint counted when a run was killed."""

    @property
    def exact(self) -> bool:
        """Nothing lost, nothing twice, and the batch knows it."""
        counts = {self.ids, self.accepted, self.told_sent}
        return counts == {self.right} and not self.ids_with_other_bytes and self.told_wrong == self.wrong


def kill_and_count(settings: Settings, folder: Path, rows: int, kills: int, seed: int) -> Outcome:
    """Do it on a broker where all topics are there and empty."""
    began_s, chance = time.monotonic(), random.Random(seed)
    file = folder / "rows.jsonl"
    found = Outcome(rows, write_rows(file, rows), seed=seed)
    moderate = _start(settings, folder, "moderate", "run", "moderate")
    try:
        command = ["batch", "submit", file.name, "--batch-id", BATCH]
        for number in range(kills):
            submit = _start(settings, folder, "submit", *command, "--rate", str(max(1, rows // SLOW_S)))
            _wait_for_more(settings, submit)
            time.sleep(chance.uniform(0, LATEST_KILL_S))
            if submit.poll() is not None:
                raise RuntimeError(f"run {number + 1} ended before it could be killed; see {folder / 'submit.log'}")
            submit.kill()
            submit.wait()
            found.kills += 1
            found.done_at_kill.append(_told(settings)[0])
        last = _start(settings, folder, "submit", *command).wait(GIVE_UP_S)
        if last not in (0, 1):
            raise RuntimeError(f"the last run ended with {last}; see {folder / 'submit.log'}")
        found.told_sent, found.told_wrong = _told(settings)[0], _lines(folder / f"{BATCH}.errors.jsonl")
        _count_requests(settings, found)
        _count_answers(settings, found)
    finally:
        moderate.terminate()
        moderate.wait(60)
    found.took_s = time.monotonic() - began_s
    return found


def _start(settings: Settings, folder: Path, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "ops", *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, **settings.environment(), "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip


def _ends(settings: Settings) -> int:
    from confluent_kafka import TopicPartition

    reader = clients.consumer(settings, f"{settings.prefix}.batch-kills")
    try:
        topics: list[Any] = list(JOBS_REQUESTED.values())
        places = [
            TopicPartition(topic.name(settings.prefix), partition)
            for topic, partitions in partitions_of(reader, settings, topics).items()
            for partition in partitions
        ]
        return sum(reader.get_watermark_offsets(place, timeout=30)[1] for place in places)
    finally:
        reader.close()


def _wait_for_more(settings: Settings, submit: "subprocess.Popen[bytes]") -> None:
    before, until_s = _ends(settings), time.monotonic() + GIVE_UP_S
    while _ends(settings) == before and submit.poll() is None:
        if time.monotonic() > until_s:
            raise RuntimeError("no job arrives on the request topics")


def _told(settings: Settings) -> tuple[int, int]:
    checkpoint = load(path_of(settings.data_dir, BATCH))
    return (checkpoint.sent, checkpoint.refused) if checkpoint else (0, 0)


def _lines(path: Path) -> int:
    places = [(line["source"], line["row"]) for line in map(json.loads, path.read_text().splitlines())]
    if len(places) != len(set(places)):
        raise RuntimeError(f"{path} tells a row twice")
    return len(places)


def _count_requests(settings: Settings, found: Outcome) -> None:
    values: dict[bytes, bytes] = {}
    other: set[bytes] = set()
    for key, value in _records(settings, list(JOBS_REQUESTED.values())):
        found.records += 1
        if values.setdefault(key, value) != value:
            other.add(key)
    found.ids, found.ids_with_other_bytes = len(values), len(other)


def _records(settings: Settings, topics: list[Topic]) -> Iterator[tuple[bytes, bytes]]:
    from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition

    reader = clients.consumer(settings, f"{settings.prefix}.batch-kills", enable_partition_eof=True)
    try:
        wanted: list[Any] = list(topics)
        places = [
            TopicPartition(topic.name(settings.prefix), partition, OFFSET_BEGINNING)
            for topic, partitions in partitions_of(reader, settings, wanted).items()
            for partition in partitions
        ]
        reader.assign(places)
        left = len(places)
        while left:
            for message in reader.consume(1000, 1.0):
                if (error := message.error()) is None:
                    yield message.key() or b"", message.value() or b""
                elif error.code() == KafkaError._PARTITION_EOF:
                    left -= 1
                else:
                    raise RuntimeError(error.str())
    finally:
        reader.close()


def _count_answers(settings: Settings, found: Outcome) -> None:
    """Until moderate has answered as many records as were sent."""
    accepted: set[str] = set()
    answered, until_s = 0, time.monotonic() + GIVE_UP_S
    with TopicReader(settings, [JOBS_EVENTS]) as reader:
        while answered < found.records:
            if time.monotonic() > until_s:
                raise RuntimeError(f"moderate has answered {answered} of {found.records} records")
            for entry in reader.poll(0.5):
                until_s = time.monotonic() + GIVE_UP_S
                if isinstance(entry.record, JobEvent):
                    answered += 1
                    if entry.record.type == "job.accepted":
                        accepted.add(entry.record.job)
                    else:
                        found.refused_by_moderate += 1
    found.accepted = len(accepted)


def run(quick: bool = False) -> dict[str, Any]:
    """The bench. `quick`: few rows and kills, to show that it runs."""
    rows, kills = (QUICK_ROWS, QUICK_KILLS) if quick else (ROWS, KILLS)
    with tempfile.TemporaryDirectory(prefix="reelbus-bench-") as name:
        folder = Path(name)
        with LocalKafka(folder / "kafka", "auto") as kafka:
            settings = Settings(bootstrap_servers=kafka.bootstrap_servers, prefix="bench", data_dir=name)
            topics_admin.apply(settings, topics_admin.plan(settings))
            found = kill_and_count(settings, folder, rows, kills, seed=random.SystemRandom().randrange(1 << 30))
    off = abs(found.accepted - found.right) + abs(found.ids - found.right) + found.ids_with_other_bytes
    return {
        "bench": "batch-kills",
        "figures": [
            {"name": f"jobs lost, doubled or altered; {found.right} rows, killed {found.kills} times", "value": off,
             "unit": "jobs", "bar": 0, "holds": found.exact and found.kills == kills},
        ],
        "machine": {
            "cpus": os.cpu_count(), "python": platform.python_version(), "load_1m": round(os.getloadavg()[0], 2),
            "quick": quick, "seed": found.seed, "took_s": round(found.took_s, 1),
        },
        "peers": [{
            "name": "counted", "right_rows": found.right, "records": found.records, "ids": found.ids,
            "ids_with_other_bytes": found.ids_with_other_bytes, "accepted": found.accepted,
            "refused_by_moderate": found.refused_by_moderate, "told_sent": found.told_sent,
            "told_wrong": found.told_wrong, "done_at_kill": found.done_at_kill,
        }],
    }  # fmt: skip
