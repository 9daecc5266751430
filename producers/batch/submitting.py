"""Sends a batch: as fast as the broker takes it, or slower on purpose, and never the same unit twice on purpose.

A unit counts as done only when the broker has acknowledged it (all replicas), or when its row is in the error file.
What was on its way when a run was killed is sent again with the same id and the same bytes, which is the same job to
the pipeline.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial

from confluent_kafka import KafkaError, Producer

from ops.bus import clients
from ops.settings import Settings
from producers.batch.files import CheckpointFile, ErrorFile
from producers.batch.progress import Checkpoint, SourceState
from producers.batch.rows import Plan, RowFault, requests_of
from producers.batch.sources import Position, Source, rows
from producers.client.reader import partitions_of
from producers.client.signing import Signer
from schemas.errors import Fatal, Transient
from schemas.request import LANES, JobRequest
from schemas.topics import JOBS_REQUESTED

PRODUCER = {
    "linger_ms": 20, "compression_type": "lz4", "queue_buffering_max_messages": 50_000,
    "queue_buffering_max_kbytes": 65_536, "batch_num_messages": 10_000, "delivery_timeout_ms": 120_000,
}  # fmt: skip
"""Throughput first; the bounded queue is what keeps memory flat."""
POLL_EVERY = 200
FULL_WAIT_S = 0.05
FLUSH_S = 130.0


class Submission:
    """One run of a batch. `run` may be called once; another run, of another process, goes on where this one ended.

    rate:  jobs per second at most; None: as fast as the broker takes them
    gate:  called now and then with the number of jobs sent so far; returns when more may be sent
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        checkpoint: Checkpoint,
        keep: CheckpointFile,
        errors: ErrorFile,
        *,
        signer: Signer | None = None,
        rate: float | None = None,
        gate: Callable[[int], None] = lambda sent: None,
    ) -> None:
        self.checkpoint = checkpoint
        self._settings, self._plan, self._keep, self._errors = settings, plan, keep, errors
        self._signer, self._rate, self._gate = signer, rate, gate
        self._cells = plan.cells()
        self._topics = {lane: JOBS_REQUESTED[lane].name(settings.prefix) for lane in LANES}
        self._failure: KafkaError | None = None
        self._handed = 0
        self._began_s = time.monotonic()
        self._producer: Producer = clients.producer(settings, **PRODUCER)
        partitions_of(self._producer, settings, list(JOBS_REQUESTED.values()))

    def run(self, sources: list[Source]) -> Iterator[int]:
        """Send what is not done of all sources; yields now and then how many bytes of them are read, about.

        However it ends, what was acknowledged is in the checkpoint. Raises Transient when the broker refuses a record.
        """
        try:
            before = 0
            for source in sources:
                state = self.checkpoint.sources[source.name]
                if not state.complete:
                    position = Position()
                    for _ in self._send_source(source, state, position):
                        yield before + position.bytes_read()
                    self._drain()
                    state.complete = True
                before += source.size_bytes
                yield before
        finally:
            self._producer.flush(FLUSH_S)
            self._save(now=True)
            self._errors.close()
        self._raise_failure()

    def _send_source(self, source: Source, state: SourceState, position: Position) -> Iterator[None]:
        cells = len(self._cells)
        seen = 0
        for number, raw in rows(source, state.low // cells, self._settings.s3_endpoint_url, position):
            first = (number - 1) * cells
            if raw is None:
                for unit in range(first, first + cells):
                    state.mark(unit)
            elif isinstance(raw, RowFault):
                self._refuse(source, state, number, 0, raw, first)
                for unit in range(first + 1, first + cells):
                    state.mark(unit)
            else:
                made = requests_of(self._plan, source.name, number, raw, self._cells, typed=source.typed)
                for cell, request, value in made:
                    unit = first + cell
                    if state.done(unit):
                        continue
                    if isinstance(request, RowFault):
                        self._refuse(source, state, number, cell, request, unit)
                    else:
                        self._produce(state, unit, request, value)
            seen += 1
            if seen % POLL_EVERY == 0:
                self._serve()
                yield

    def _refuse(self, source: Source, state: SourceState, number: int, cell: int, fault: RowFault, unit: int) -> None:
        if not state.done(unit):
            self._errors.add(source.name, number, cell, fault)
            state.refused += 1
            state.mark(unit)

    def _produce(self, state: SourceState, unit: int, request: JobRequest, value: bytes) -> None:
        topic, key = self._topics[request.lane], request.job_id
        headers: list[tuple[str, str | bytes | None]] = []
        if self._signer is not None:
            headers.append(self._signer.sign(topic, request.tenant, key, value))
        while True:
            try:
                self._producer.produce(
                    topic, value, key, on_delivery=partial(self._delivered, state, unit), headers=headers or None
                )
            except BufferError:
                self._producer.poll(FULL_WAIT_S)
                self._raise_failure()
            else:
                self._handed += 1
                return

    def _delivered(self, state: SourceState, unit: int, error: KafkaError | None, message: object) -> None:
        if error is None:
            state.sent += 1
            state.mark(unit)
        else:
            self._failure = error

    def _serve(self) -> None:
        self._producer.poll(0)
        if self._rate is not None:
            while (ahead_s := self._handed / self._rate - (time.monotonic() - self._began_s)) > 0:
                self._producer.poll(min(ahead_s, 0.2))
        self._gate(self.checkpoint.sent)
        self._save()
        self._raise_failure()

    def _save(self, *, now: bool = False) -> None:
        self._errors.flush()
        self._keep.keep(self.checkpoint, now=now)

    def _drain(self) -> None:
        if self._producer.flush(FLUSH_S):
            raise Transient(f"{self._producer.flush(0)} jobs were not acknowledged; run the same command again")
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise Transient(f"the broker did not take a job: {self._failure.str()}; run the same command again")


def begin(plan: Plan, sources: list[Source], known: Checkpoint | None, now_ms: int) -> Checkpoint:
    """The checkpoint to go on from. Raises Fatal when the batch is known with other rows or another plan. Pure."""
    if known is None:
        return Checkpoint(
            batch_id=plan.batch_id, tenant=plan.tenant, plan=plan.fingerprint(), started_at_ms=now_ms,
            sources={source.name: SourceState() for source in sources},
        )  # fmt: skip
    if (known.plan, known.tenant) != (plan.fingerprint(), plan.tenant):
        what = "with another template, matrix, default or tenant"
        raise Fatal(f"batch {plan.batch_id} was begun {what}; give this one another --batch-id")
    names = {source.name for source in sources}
    if missing := sorted(known.sources.keys() - names):
        raise Fatal(f"batch {plan.batch_id} was begun with {missing[0]}, which is not among the inputs now")
    if new := sorted(names - known.sources.keys()):
        raise Fatal(f"batch {plan.batch_id} was begun without {new[0]}; give this one another --batch-id")
    return known
