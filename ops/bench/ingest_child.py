"""One side of `bench ingest` in a process of its own; prints {"rows", "rows_per_s", "peak_mib"}."""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError

from ops.settings import Settings, load

POLL_EVERY = 200


def submit(settings: Settings, file: str, batch_id: str) -> tuple[int, float]:
    """Ours: what `reelbus batch submit` runs, from opening the file to the last acknowledgement."""
    from producers.batch.files import CheckpointFile, ErrorFile
    from producers.batch.pair import Pair
    from producers.batch.plan import Plan
    from producers.batch.sources import expand
    from producers.batch.submitting import Submission, begin

    with (
        tempfile.TemporaryDirectory() as folder,
        CheckpointFile(Path(folder) / "checkpoint.json") as keep,
    ):
        plan, sources, pair = Plan(batch_id=batch_id), expand([file], None), Pair(settings)
        checkpoint = begin(plan, sources, None, target=pair.target, now_ms=1)
        submission = Submission(settings, plan, checkpoint, keep, ErrorFile(Path(folder) / "errors.jsonl"), pair)
        began_s = time.perf_counter()
        for _ in submission.run(sources):
            pass
        return checkpoint.sent, time.perf_counter() - began_s


def bare(settings: Settings, file: str, batch_id: str) -> tuple[int, float]:
    """The peer: the same records, made beforehand, handed to a producer with the same settings."""
    from ops.bus import clients
    from producers.batch.pair import PRODUCER

    records, topic = _records(settings, file, batch_id)
    producer = clients.producer(settings, **PRODUCER)
    producer.list_topics(timeout=10)
    faults: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: object) -> None:
        if error is not None:
            faults.append(error)

    began_s = time.perf_counter()
    for number, (key, value) in enumerate(records):
        while True:
            try:
                producer.produce(topic, value, key, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.05)
        if number % POLL_EVERY == 0:
            producer.poll(0)
    left = producer.flush(120)
    took_s = time.perf_counter() - began_s
    assert not left, left
    assert not faults, faults[:1]
    return len(records), took_s


def celery(settings: Settings, file: str, url: str, rows: str) -> tuple[int, float]:
    """The other peer: the same payloads as task arguments."""
    from celery import Celery

    app = Celery("bench", broker=url)
    app.conf.task_ignore_result = True

    @app.task(name="render")  # type: ignore[untyped-decorator]
    def render(payload: str) -> None:
        """Never run here."""

    records, _ = _records(settings, file, "celery")
    payloads = [value.decode() for _, value in records[: int(rows)]]
    render.apply_async([payloads[0]])
    began_s = time.perf_counter()
    for payload in payloads:
        render.apply_async([payload])
    return len(payloads), time.perf_counter() - began_s


def _records(settings: Settings, file: str, batch_id: str) -> tuple[list[tuple[bytes, bytes]], str]:
    from producers.batch.plan import Plan
    from producers.batch.rows import Maker
    from schemas.topics import JOBS_REQUESTED

    maker, made = Maker(Plan(batch_id=batch_id), file), []
    for number, line in enumerate(Path(file).read_bytes().splitlines(), 1):
        record = maker.quick(number, line)
        assert record is not None
        made.append(record[1:])
    return made, JOBS_REQUESTED["bulk"].name(settings.prefix)


def main() -> None:
    """Run the side that the first argument names."""
    side: Any = {"submit": submit, "bare": bare, "celery": celery}[sys.argv[1]]
    rows, took_s = side(load(), *sys.argv[2:])
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": rows, "rows_per_s": rows / took_s, "peak_mib": peak_mib}))


if __name__ == "__main__":
    main()
