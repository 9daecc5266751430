"""The result of a job as one flat row, and files of such rows."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from schemas.events import JobFinished, JobState
from schemas.lifecycle import TERMINAL

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
