"""What became of a batch, from jobs.state and jobs.finished."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ops.settings import Settings
from producers.client.reader import TopicReader
from schemas.events import JobFinished, JobState
from schemas.lifecycle import TERMINAL
from schemas.topics import JOBS_FINISHED, JOBS_STATE

POLL_S = 0.25
SLACK_S = 60.0
PARQUET_ROWS = 5000


class ResultRow(msgspec.Struct, frozen=True, kw_only=True):
    """One job of a batch, flat: the columns of an export. Columns are only ever added, at the end."""

    batch_id: str
    """Batch."""
    job_id: str
    """As the row said, or as it was made from the row."""
    tenant: str
    """Whose."""
    state: str
    """completed, rejected, failed, cancelled, expired, deleted, or where the job stands."""
    reason_code: str
    """"" when completed."""
    reason_message: str
    """One sentence."""
    reason_field: str
    """Field of the request at fault."""
    uri: str
    """Of the video; "" without one."""
    sha256: str
    """Of the video, hex."""
    size_bytes: int
    """Of the video."""
    frames: int
    """Of the video."""
    duration_s: float
    """Of the video."""
    width_px: int
    """Of the video."""
    height_px: int
    """Of the video."""
    fps: int
    """Of the video."""
    thumbnail_uri: str
    """JPEG."""
    model: str
    """Name from the registry."""
    lane: str
    """Class of service."""
    device_s: float
    """Device-seconds that the job used."""
    chunks_rendered: int
    """Rendered for it."""
    chunks_reused: int
    """Found in the store."""
    requested_at_ms: int
    """When the broker had the request."""
    finished_at_ms: int
    """0 while it goes on."""
    metadata_json: str
    """The caller's metadata as a JSON object."""


def row_of(job: JobState | JobFinished) -> ResultRow:
    """A job as a row. Pure."""
    tenant, _, job_id = job.job.partition("/")
    reason, video, ended = job.reason, job.video, job.state in TERMINAL
    progress = job.progress if isinstance(job, JobState) else None
    cost = job.cost if isinstance(job, JobFinished) else None
    used = cost.device_s if cost else progress.device_s if progress else 0.0
    return ResultRow(
        batch_id=job.batch_id,
        job_id=job_id,
        tenant=tenant,
        state=job.state,
        reason_code=reason.code if reason else "",
        reason_message=reason.message if reason else "",
        reason_field=reason.field if reason else "",
        uri=video.file.uri if video else "",
        sha256=video.file.sha256 if video else "",
        size_bytes=video.file.size_bytes if video else 0,
        frames=video.frames if video else 0,
        duration_s=video.duration_s if video else 0.0,
        width_px=video.width_px if video else 0,
        height_px=video.height_px if video else 0,
        fps=video.fps if video else 0,
        thumbnail_uri=video.thumbnail.uri if video else "",
        model=job.model,
        lane=job.lane,
        device_s=used,
        chunks_rendered=cost.chunks_rendered if cost else progress.rendered if progress else 0,
        chunks_reused=cost.chunks_reused if cost else progress.reused if progress else 0,
        requested_at_ms=job.requested_at_ms,
        finished_at_ms=job.timeline.finished_at_ms if ended else 0,
        metadata_json=msgspec.json.encode(job.metadata).decode(),
    )


@dataclass(slots=True)
class Summary:
    """A batch in numbers, as far as the pipeline knows of it."""

    batch_id: str
    states: Counter[str]
    device_s: float = 0.0
    first_requested_at_ms: int = 0
    last_updated_at_ms: int = 0

    @property
    def total(self) -> int:
        """Jobs that were accepted or rejected so far."""
        return self.states.total()

    @property
    def unfinished(self) -> int:
        """Jobs that go on."""
        return sum(count for state, count in self.states.items() if state not in TERMINAL)

    @property
    def status(self) -> str:
        """in_progress or finished."""
        return "in_progress" if self.unfinished else "finished"

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "batch_id": self.batch_id, "status": self.status, "total": self.total, "unfinished": self.unfinished,
            "states": dict(self.states), "device_s": round(self.device_s, 3),
            "first_requested_at_ms": self.first_requested_at_ms, "last_updated_at_ms": self.last_updated_at_ms,
        }  # fmt: skip


def summaries(states: Iterable[JobState]) -> dict[str, Summary]:
    """Batches by id, in the order of their first request; jobs without a batch are left out. Pure."""
    found: dict[str, Summary] = {}
    for state in states:
        if not state.batch_id:
            continue
        batch = found.setdefault(state.batch_id, Summary(state.batch_id, Counter()))
        batch.states[state.state] += 1
        batch.device_s += state.progress.device_s if state.progress else 0.0
        first = batch.first_requested_at_ms or state.requested_at_ms
        batch.first_requested_at_ms = min(first, state.requested_at_ms)
        batch.last_updated_at_ms = max(batch.last_updated_at_ms, state.updated_at_ms)
    return dict(sorted(found.items(), key=lambda item: item[1].first_requested_at_ms))


def latest(settings: Settings, batch_id: str = "") -> dict[str, JobState]:
    """Where every job stands now, or every job of one batch; by job key."""
    found: dict[str, JobState] = {}
    with TopicReader(settings, [JOBS_STATE]) as reader:
        while not reader.caught_up:
            for entry in reader.poll(POLL_S):
                state = entry.record
                if not isinstance(state, JobState) or (batch_id and state.batch_id != batch_id):
                    continue
                if state.job not in found or state.sequence > found[state.job].sequence:
                    found[state.job] = state
    return found


class Finishing:
    """Terminal records of one batch as they come, each job once."""

    def __init__(self, settings: Settings, batch_id: str, since_ms: int, now_ms: int) -> None:
        self._batch_id = batch_id
        recent_s = max(0, now_ms - since_ms) / 1000 + SLACK_S
        self._reader = TopicReader(settings, [JOBS_FINISHED], {JOBS_FINISHED.entity: recent_s})
        self._seen: set[str] = set()

    def __enter__(self) -> "Finishing":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.__exit__()

    @property
    def count(self) -> int:
        """Jobs that have ended so far."""
        return len(self._seen)

    def poll(self, timeout_s: float) -> Iterator[JobFinished]:
        """Those that ended since."""
        for entry in self._reader.poll(timeout_s):
            done = entry.record
            if isinstance(done, JobFinished) and done.batch_id == self._batch_id and done.job not in self._seen:
                self._seen.add(done.job)
                yield done


def write(rows: Iterable[ResultRow], target: Path) -> int:
    """Export as Parquet (name ends in .parquet) or JSON lines; the file appears only when it is whole. Returns rows."""
    draft = target.with_name(f".{target.name}.draft")
    count = _write_parquet(rows, draft) if target.suffix == ".parquet" else _write_jsonl(rows, draft)
    draft.replace(target)
    return count


def _write_jsonl(rows: Iterable[ResultRow], target: Path) -> int:
    count = 0
    with target.open("wb") as stream:
        for row in rows:
            stream.write(msgspec.json.encode(row) + b"\n")
            count += 1
    return count


def _write_parquet(rows: Iterable[ResultRow], target: Path) -> int:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    kinds: Mapping[Any, Any] = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    schema = pa.schema([(f.name, kinds[f.type]) for f in msgspec.structs.fields(ResultRow)])
    count = 0
    with ParquetWriter(target, schema, compression="zstd") as writer:
        batch: list[dict[str, Any]] = []
        for row in rows:
            batch.append(msgspec.structs.asdict(row))
            count += 1
            if len(batch) == PARQUET_ROWS:
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
                batch = []
        writer.write_table(pa.Table.from_pylist(batch, schema=schema))
    return count
