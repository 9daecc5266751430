"""Evidence of a run in which everything went well, made from real requests and plans. For tests of the checker."""

import hashlib
import tomllib
from collections.abc import Sequence

from msgspec import convert
from msgspec.structs import replace

from schemas.audit import AuditEntry, AuditKind
from schemas.chunks import chunk_ids, chunk_keys
from schemas.events import JobReply, JobState, Provenance, PublishedFile, State, Video
from schemas.ids import event_id, fingerprint, video_object_key
from schemas.plan import ClearedJob
from schemas.registry import ModelEntry
from schemas.work import ChunkRendered
from stream_processors.split.core import split
from stream_processors.track.telling import finished, usage
from tests.faults.checker import FILES, frames_of_plan
from tests.faults.evidence import Evidence, VideoSeen
from tests.faults.jobs import Asked, Kind
from tests.faults.stack import REGISTRY

MODEL = convert(tomllib.loads(REGISTRY)["model"][0], ModelEntry)
ENDED: dict[Kind, State] = {
    "cancelled": "cancelled", "refused": "rejected", "deadline": "expired", "broken-device": "failed",
}  # fmt: skip
"""How jobs of a kind end here; all others are completed."""
ENTERED: dict[State, AuditKind] = {
    "cancelled": "cancelled", "rejected": "refused", "expired": "expired", "failed": "failed", "completed": "published",
}  # fmt: skip


def digest(key: str) -> str:
    """Stands for the SHA-256 of an object."""
    return hashlib.sha256(key.encode()).hexdigest()


def evidence_of(asked: Sequence[Asked]) -> Evidence:
    """What is seen after a run of these jobs without a fault."""
    seen = Evidence()
    for job in asked:
        _add(seen, job)
    return seen


def _add(seen: Evidence, asked: Asked) -> None:
    state: State = ENDED.get(asked.kind, "completed")
    seen.acknowledged.add(asked.job)
    if state != "rejected":
        _rendered(seen, asked, whole=state == "completed")
    video = _published(seen, asked.job) if state == "completed" else None
    first = JobState(
        job=asked.job, state="accepted", sequence=1, lane=asked.request.lane, model="fake", requested_at_ms=1,
        updated_at_ms=1, webhook=asked.request.webhook,
    )  # fmt: skip
    last = replace(first, state=state, sequence=2, video=video)
    seen.states += [first, last] if state != "rejected" else [replace(last, sequence=1)]
    done = finished(last)
    seen.finished.append(done)
    seen.usage.append(usage(last))
    seen.entries.append(_entry(asked.job, ENTERED[state]))
    told = JobReply(
        id=event_id("reply", asked.job, "end"), type="finished", tenant=done.tenant, job_id=done.job_id, job=done.job,
        sequence=2, at_ms=2, state=state, result=done,
    )  # fmt: skip
    seen.replies.append((done.tenant, told))
    if asked.request.webhook is not None:
        seen.webhooks[asked.job] = [event_id("webhook", asked.job)] * 2


def _entry(job: str, kind: AuditKind) -> AuditEntry:
    return AuditEntry(
        sequence=1, previous="", id=f"{kind}-{job}", kind=kind, at_ms=2, job=job, tenant=job.partition("/")[0],
        source="dispatch",
    )  # fmt: skip


def _rendered(seen: Evidence, asked: Asked, *, whole: bool) -> None:
    """A plan, and its chunks: all, or the first only."""
    mark = fingerprint(asked.request)
    plan = split(ClearedJob(job=asked.job, request=asked.request, fingerprint=mark, requested_at_ms=1), MODEL)
    seen.plans[asked.job] = plan
    names, keys = chunk_ids(plan), chunk_keys(plan)
    for index in range(len(names) if whole else 1):
        seen.objects[keys[index]] = digest(keys[index])
        seen.created[keys[index]] = 1
        told = ChunkRendered(
            job=asked.job, index=index, attempt=1, chunk_id=names[index], pool="cpu", worker_id="w", status="rendered",
        )  # fmt: skip
        seen.rendered.append(told)


def _published(seen: Evidence, job: str) -> Video:
    files = []
    for name in FILES:
        key = video_object_key(job, name)
        seen.objects[key] = digest(key)
        seen.created[key] = 1
        files.append(PublishedFile(uri=f"s3://{key}", key=key, sha256=digest(key), size_bytes=1, content_type="x/y"))
    frames = frames_of_plan(seen.plans[job])
    key = files[0].key
    seen.videos[key] = VideoSeen(digest(key), tuple(frames))
    output = seen.plans[job].request.output
    return Video(
        file=files[0], thumbnail=files[1], contact_sheet=files[2], frames=len(frames), duration_s=1.0,
        width_px=output.width_px, height_px=output.height_px, fps=output.fps, container="mp4", codec="h264",
        provenance=Provenance(model="fake", model_revision="1", seeds=(1,), label="AI", mark_payload="0"),
    )  # fmt: skip
