"""Sends a batch: as fast as the broker takes it, or slower on purpose, and never a finished unit again.

A unit is done when the broker has acknowledged its job (all replicas), or when its row is in the error file. What was
on its way when a run was killed is sent again with the same id and the same bytes, which is the same job to the
pipeline.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from itertools import islice

from confluent_kafka import KafkaException

from ops.settings import Settings
from producers.batch.fields import check_columns
from producers.batch.files import CheckpointFile, ErrorFile
from producers.batch.pace import Pace
from producers.batch.pair import Pair
from producers.batch.plan import Plan, RowFault
from producers.batch.progress import Block, Checkpoint, Mark, SourceState
from producers.batch.reading import Reading
from producers.batch.rows import Maker, Row
from producers.batch.sources import Source
from producers.client.signing import Signer
from schemas.errors import Fatal
from schemas.request import LANES, Lane
from schemas.topics import JOBS_REQUESTED

BLOCK_JOBS = 10_000
BLOCK_S = 0.5
LOOK_ROWS = 256
"""Rows between two looks at the clock."""
MOST_WAIT_S, HELD_WAIT_S = 0.2, 0.05
LAST_S = 10.0
"""How long a run that is stopped waits for what is on its way."""


class Submission:
    """One run of a batch. `run` may be called once; another run, of another process, goes on where this one ended.

    rate:   jobs per second at most; None: as fast as the broker takes them
    held:   asked before every job; True while no more may be sent
    on_job: told the id of every job, in this run or an earlier one; None saves reading again what is done
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        checkpoint: Checkpoint,
        keep: CheckpointFile,
        errors: ErrorFile,
        pair: Pair,
        *,
        signer: Signer | None = None,
        rate: float | None = None,
        held: Callable[[], bool] | None = None,
        on_job: Callable[[str], None] | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self._settings, self._plan, self._keep, self._errors, self._pair = settings, plan, keep, errors, pair
        self._signer, self._held, self._on_job = signer, held, on_job
        self._pace = Pace(rate, time.monotonic()) if rate else None
        self._slow = bool(rate or held or on_job or signer)
        self._topics = {lane: JOBS_REQUESTED[lane].name(settings.prefix) for lane in LANES}
        self._open, self._on_its_way = Block(checkpoint), Block(checkpoint)
        self._began_s = time.monotonic()
        self._mark = Mark(0)

    def run(self, sources: list[Source]) -> Generator[int, None, None]:
        """Send what is not done of all sources; yields several times a second how many bytes of them are read, about.

        However it ends, what was acknowledged is in the checkpoint. Raises Transient when the broker refuses a record.
        """
        try:
            before = so_far = 0
            for source in sources:
                state = self.checkpoint.sources[source.name]
                if not state.complete or self._on_job is not None:
                    for read_bytes in self._send_source(source, state):
                        so_far = max(so_far, before + read_bytes)
                        yield so_far
                before += source.size_bytes
            self._turn()
            self._turn()
            yield before
        finally:
            self._stop()

    def _send_source(self, source: Source, state: SourceState) -> Iterator[int]:
        maker = Maker(self._plan, source.name, typed=source.typed)
        cells, done = len(maker.cells), state.low
        unseen = 0
        number = skip = 0 if self._on_job is not None else done // cells
        every = LOOK_ROWS if source.size_bytes else 1  # a pipe may have nothing more for hours
        self._mark = self._open.mark(source.name, done)
        with Reading(source, self._settings.s3_endpoint_url, partial(check_columns, self._plan, source.name)) as read:
            for first, rows in read.blocks(skip):
                at = 0
                while at < len(rows):
                    if not self._slow:
                        at = self._send_quickly(maker, first, rows, at)
                    if at < len(rows):
                        yield from self._send_row(maker, source.name, first + at, rows[at], done)
                        at += 1
                number = first + at - 1
                unseen += at
                if unseen >= every:
                    unseen = 0
                    self._look(source.name)
                    yield read.bytes_read
            self._mark.units = number * cells

    def _send_quickly(self, maker: Maker, first: int, rows: Sequence[Row], at: int) -> int:
        """Send whole requests from rows[at] on, as many as follow each other. Returns where they end."""
        quick, topics, produce, failed = maker.quick, self._topics, self._pair.handing, self._pair.failed
        number = first + at
        try:
            for row in islice(rows, at, None):
                job = quick(number, row) if type(row) is bytes else None
                if job is None:
                    break
                lane, key, value = job
                try:
                    produce(topics[lane], value, key, on_delivery=failed)
                except (BufferError, KafkaException):
                    self._pair.produce(topics[lane], value, key)
                number += 1
        finally:
            self._mark.sent += number - first - at
            self._mark.low = max(self._mark.low, number - 1)
        return number - first

    def _send_row(self, maker: Maker, source: str, number: int, row: Row, done: int) -> Iterator[int]:
        """Any row: a whole request, blank, wrong, or to be filled in; perhaps several jobs."""
        whole = maker.quick(number, row) if isinstance(row, bytes) else None
        if whole is not None:  # also where others could be quicker: the same row has the same bytes in every run
            yield from self._send_slowly(source, number - 1, done, *whole)
            return
        cells = len(maker.cells)
        first = (number - 1) * cells
        for cell, request, value in maker.jobs(number, row):
            unit = first + cell
            if not isinstance(request, RowFault):
                yield from self._send_slowly(source, unit, done, request.lane, request.job_id.encode(), value)
            elif unit >= done:
                self._errors.add(source, number, cell, request)
                self._mark.refused += 1
                self._mark.low = unit + 1
            if cell % LOOK_ROWS == LOOK_ROWS - 1:
                self._look(source)
        self._mark.low = max(self._mark.low, first + cells)

    def _send_slowly(self, source: str, unit: int, done: int, lane: Lane, key: bytes, value: bytes) -> Iterator[int]:
        while unit >= done and self._has_to_wait():
            self._look(source)
            yield -1
        if self._on_job is not None:
            self._on_job(key.decode())
        if unit < done:
            return
        topic = self._topics[lane]
        signed = [self._signer.sign(topic, self._plan.tenant, key.decode(), value)] if self._signer else None
        self._pair.produce(topic, value, key, signed)
        self._mark.sent += 1
        self._mark.low = unit + 1

    def _has_to_wait(self) -> bool:
        now_s = time.monotonic()
        wait_s = self._pace.wait_s(now_s) if self._pace else 0.0
        if self._held is not None and self._held():
            wait_s = max(wait_s, HELD_WAIT_S)
        if wait_s:
            self._pair.wait(min(wait_s, MOST_WAIT_S))
            return True
        if self._pace:
            self._pace.gone(now_s)
        return False

    def _look(self, source: str) -> None:
        if self._open.jobs >= BLOCK_JOBS or time.monotonic() - self._began_s >= BLOCK_S:
            low = self._mark.low
            self._turn()
            self._mark = self._open.mark(source, low)

    def _turn(self) -> None:
        """Begin a block. The one before this one is acknowledged then, and counts."""
        self._open.errors_bytes = self._errors.length_bytes
        self._pair.turn()
        self._on_its_way.settle()
        self._on_its_way, self._open = self._open, Block(self.checkpoint)
        self._began_s = time.monotonic()
        if self._keep.due:
            self._save()

    def _stop(self) -> None:
        if self._pair.give_up(LAST_S):
            self._open.errors_bytes = self._errors.length_bytes
            self._on_its_way.settle()
            self._open.settle()
        self._save()
        self._errors.close()

    def _save(self) -> None:
        self._errors.flush()
        self._keep.keep(self.checkpoint)


def begin(
    plan: Plan, sources: list[Source], known: Checkpoint | None, *, target: str, now_ms: int, unchanged: bool = False
) -> Checkpoint:
    """The checkpoint to go on from. Raises Fatal when the batch is known with other rows, another plan or another
    target. Pure.

    unchanged: the caller says that sources which look changed have the rows that they had
    """
    if known is None:
        return Checkpoint(
            batch_id=plan.batch_id, tenant=plan.tenant, plan=plan.fingerprint(), target=target, started_at_ms=now_ms,
            sources={source.name: SourceState(source.version) for source in sources},
        )  # fmt: skip
    other = "give this one another --batch-id"
    if (known.plan, known.tenant) != (plan.fingerprint(), plan.tenant):
        raise Fatal(f"batch {plan.batch_id} was begun with another template, matrix, default or tenant; {other}")
    if known.target != target:
        raise Fatal(f"batch {plan.batch_id} was sent to another cluster or prefix, {known.target}; {other}")
    names = {source.name for source in sources}
    if missing := sorted(known.sources.keys() - names):
        raise Fatal(f"batch {plan.batch_id} was begun with {missing[0]}, which is not among the inputs now")
    if new := sorted(names - known.sources.keys()):
        raise Fatal(f"batch {plan.batch_id} was begun without {new[0]}; {other}")
    for source in sources:
        state = known.sources[source.name]
        if state.version != source.version:
            if not unchanged:
                what = f"{source.name} has changed since batch {plan.batch_id} was begun"
                raise Fatal(f"{what}; {other}, or say --unchanged if the rows that were sent are still the same")
            state.version, state.units = source.version, None  # it may have more rows now
    return known
