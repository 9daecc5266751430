"""Golden examples of what goes on between the scheduler, the workers and the muxer."""

from typing import Literal

import msgspec
from msgspec.structs import replace

from schemas import codec
from schemas.audit import AuditEntry, AuditKind, Head, linked
from schemas.chunks import chunk_specs
from schemas.events import JobEvent
from schemas.ids import chunk_id, chunk_object_key, event_id, fingerprint, mark_of
from schemas.plan import Plan
from schemas.prompt_rules import CategoryRule, PromptRules
from schemas.quotas import Account, LedgerEntry, Quota
from schemas.records import Incoming
from schemas.request import JobOrder
from schemas.reviews import ReviewCase, ReviewDecision, objects_of
from schemas.steering import merged, of_command
from schemas.topics import CHUNKS_RENDERED, CHUNKS_RENDERED_RETRY, MUX_TASKS_RETRY, POOLS
from schemas.work import (
    ChunkInspected,
    ChunkProgress,
    ChunkRendered,
    ChunkTask,
    ChunkWithdrawn,
    Command,
    LearntCost,
    MuxTask,
    ObjectRef,
    ParkedLine,
    ReadyChunk,
    SchedulerRow,
    Switch,
    WorkerState,
)
from stream_processors.dispatch.backlog import line_of
from stream_processors.dispatch.cases import open_case
from stream_processors.dispatch.core import Scheduler
from stream_processors.dispatch.job import Job
from stream_processors.moderate.core import order
from stream_processors.moderate.identity import Tenants
from tests.contracts import golden_requests as requests
from tests.contracts.golden_jobs import ALLOW, BLOCK, DOUBT, PROVIDER, T0

Goldens = dict[str, msgspec.Struct]


def _task(plan: Plan, index: int, attempt: int, pool: str) -> ChunkTask:
    spec = chunk_specs(plan)[index]
    return ChunkTask(
        job=plan.job, index=index, attempt=attempt, chunk_id=chunk_id(spec), spec=spec, lane=plan.request.lane,
        pool=pool, dispatched_at_ms=T0 + 400 + 100 * index,
    )  # fmt: skip


def object_of(plan: Plan, index: int) -> ObjectRef:
    name = chunk_id(chunk_specs(plan)[index])
    return ObjectRef(
        key=chunk_object_key(plan.request.tenant, name), sha256=event_id(name) * 2, size_bytes=9_000 + index
    )


def _rendered(plan: Plan, index: int, pool: str = "cpu") -> ChunkRendered:
    task = _task(plan, index, 1, pool)
    return ChunkRendered(
        job=plan.job, index=index, attempt=1, chunk_id=task.chunk_id, pool=pool, worker_id="node-3-4711",
        status="rendered", object=object_of(plan, index), frames=task.spec.frames, device_s=0.2,
        dispatched_at_ms=task.dispatched_at_ms,
    )  # fmt: skip


def work(plan: Plan) -> Goldens:
    made: Goldens = {}
    for pool in POOLS:
        made[f"chunks.{pool}/first"] = _task(plan, 0, 1, pool)
        made[f"chunks.{pool}/continued"] = _task(plan, 1, 1, pool)
        made[f"chunks.{pool}/second-try"] = _task(plan, 1, 2, pool)
    good = _rendered(plan, 0)
    reused = replace(good, status="reused", device_s=0.0)
    error = "the device ran out of memory"
    failed = replace(good, status="failed", object=None, frames=0, device_s=0.1, error=error)
    withdrawn = replace(good, status="withdrawn", object=None, frames=0, device_s=0.05)
    made["chunks.withdrawn/cancelled"] = ChunkWithdrawn(
        chunk_id=good.chunk_id, job=plan.job, pool="cpu", dispatched_at_ms=good.dispatched_at_ms, at_ms=T0 + 950
    )
    made["chunks.inspected/withdrawn"] = ChunkInspected(rendered=withdrawn)
    for name, record in (("rendered", good), ("reused", reused), ("failed", failed), ("withdrawn", withdrawn)):
        made |= {f"{topic.entity}/{name}": record for topic in (CHUNKS_RENDERED, *CHUNKS_RENDERED_RETRY.values())}
    made["chunks.inspected/allowed"] = ChunkInspected(rendered=good, verdict=ALLOW)
    made["chunks.inspected/blocked"] = ChunkInspected(rendered=good, verdict=BLOCK)
    made["chunks.inspected/left-to-a-person"] = ChunkInspected(rendered=good, verdict=DOUBT)
    made["chunks.inspected/failed"] = ChunkInspected(rendered=failed)
    ready = tuple(ReadyChunk(o.sha256, o.size_bytes) for i in range(len(plan.chunks)) if (o := object_of(plan, i)))
    made["mux.tasks/first"] = MuxTask(plan=plan, ready=ready, attempt=1, frames=ALLOW)
    made["mux.tasks/after-a-chunk-was-lost"] = MuxTask(plan=plan, ready=ready, attempt=2, frames=ALLOW)
    made |= {f"{topic.entity}/first": made["mux.tasks/first"] for topic in MUX_TASKS_RETRY.values()}
    worker = WorkerState(
        worker_id="node-3-4711", pool="cuda", device="NVIDIA H100", partitions=(0, 4), models=("shapes",), pending=(),
        capacity=2, rendered=120, at_ms=T0 + 1_000,
    )  # fmt: skip
    busy = replace(worker, pending=(_task(plan, 0, 1, "cuda").chunk_id,), step=5, steps=8)
    made["workers.state/idle"], made["workers.state/rendering"] = worker, busy
    made["scheduler.switches/lane-paused"] = Switch(
        kind="lane", name="bulk", state="off", reason="the GPUs are wanted elsewhere", by="ada", at_ms=T0 + 1_000
    )
    for kind, name in (("tenant", "acme"), ("pool", "cuda"), ("worker", "node-3-4711")):
        made[f"scheduler.switches/{kind}-off"] = Switch(kind=kind, name=name, state="off", by="ada", at_ms=T0 + 1_500)
    made["scheduler.switches/worker-undrained"] = Switch(
        kind="worker", name="node-3-4711", state="on", by="ada", at_ms=T0 + 2_000
    )
    made["workers.state/leaving"] = replace(worker, partitions=(), leaving=True)
    return made


def _trail(plan: Plan) -> Goldens:
    """A chain with an entry of every kind."""

    def entry(kind: AuditKind, at_ms: int, source: str, **more: str) -> AuditEntry:
        return AuditEntry(
            sequence=0, previous="", id=event_id(f"job.{kind}", plan.job), kind=kind, at_ms=at_ms, job=plan.job,
            tenant=plan.request.tenant, source=source, **more,
        )  # fmt: skip

    mark = fingerprint(plan.request)
    alike = {"likeness": "0123456789abcdef0123456789abcdef", "moderator": "2026-11-22"}
    refusal = {"code": "prompt_refused", "field": "shots[0].prompt", "category": "violence", **alike}
    video = {"label": "AI GENERATED", "mark_payload": "0123456789abcdef", "video_sha256": "5" * 64,
             "certificate_sha256": "7" * 64, "certificate_name": "Video signing 2026"}  # fmt: skip
    made, head = {}, Head()
    for entry_ in (
        entry("accepted", T0 + 300, "moderate", fingerprint=mark, key_id="key-2026", **alike),
        entry("refused", T0 + 350, "moderate", fingerprint=fingerprint("another"), **refusal),
        entry("review", T0 + 900, "dispatch", fingerprint=mark, category="sexual", moderator=PROVIDER),
        entry("approved", T0 + 2_000, "dispatch", fingerprint=mark, by="ada", why="a marble statue"),
        entry("published", T0 + 4_000, "mux", fingerprint=mark, moderator=PROVIDER, **video),
        entry("failed", T0 + 4_000, "dispatch", fingerprint=mark, code="render_failed"),
        entry("cancelled", T0 + 4_000, "dispatch", code="cancelled"),
        entry("expired", T0 + 4_000, "dispatch", fingerprint=mark, code="deadline_passed"),
        entry("deleted", T0 + 90_000, "operator", code="deleted"),
    ):
        made[f"audit.trail/{entry_.kind}"], head = linked(entry_, head)
    return made


def _entry(plan: Plan, kind: str, **amounts: object) -> LedgerEntry:
    return LedgerEntry(
        id=event_id("ledger", kind, plan.job), kind=kind, tenant=plan.request.tenant, job=plan.job, account="film",
        model=plan.render.model, pool="cpu", lane=plan.request.lane, at_ms=T0 + 900, **amounts,
    )  # fmt: skip


def ordered(name: str) -> Command:
    """What moderate makes of an example of an order."""
    asked = requests.ORDERS[f"orders.requested/{name}"]
    assert isinstance(asked, JobOrder)
    raw = codec.encode(asked, "json")
    record = Incoming("reelbus.orders.requested.v1", 0, 0, asked.job_id.encode(), raw, (), T0 + 900)
    made = order(record, Tenants("reelbus"))
    assert isinstance(made, Command)
    return made


def control() -> Goldens:
    cancel = ordered("cancel")
    steering = ("hold", "resume", "reprioritise", "move-lane", "change-deadline")
    lost = "chunk 2 is not in the store"
    redo = Command(job=cancel.job, action="redo_chunk", chunk=2, mux_attempt=1, reason=lost, requested_at_ms=T0 + 2_000)
    return {
        "jobs.control/cancel": cancel,
        **{f"jobs.control/{name}": ordered(name) for name in steering},
        "jobs.control/redo-chunk": redo,
        "jobs.control/release": Command(
            job=cancel.job, action="release", mux_attempt=1, requested_at_ms=T0 + 4_100
        ),
        "jobs.control/admit": Command(
            job=cancel.job, action="admit", fingerprint=fingerprint("one"), requested_at_ms=T0 + 310
        ),
        "jobs.control/withdraw": Command(
            job=cancel.job, action="withdraw", fingerprint=fingerprint("another"), requested_at_ms=T0 + 310,
            reason="another request owns this id",
        ),
        "jobs.control/expire": Command(
            job=cancel.job, action="expire", requested_at_ms=T0 + 9_000,
            reason="deadline_passed: the deadline passed before the video was rendered",
        ),
    }  # fmt: skip


def texts_in_review(plan: Plan) -> Goldens:
    """A job whose texts wait for a person, and what became of it."""
    decides = Scheduler({"express": 1.0, "standard": 1.0, "bulk": 1.0})
    opened = decides.on_plan(plan, T0 + 300)
    (row,) = (out.record for out in opened if isinstance(out.record, SchedulerRow))
    (case,) = (out.record for out in opened if isinstance(out.record, ReviewCase))
    (wanted,) = (out.record for out in opened if getattr(out.record, "type", "") == "job.review-wanted")
    approve, refuse = decision("approve", case, "a stage fight"), decision("refuse", case, "no stage in sight")
    (approved, *_) = decides.on_review(approve, T0 + 2_000)
    assert isinstance(approved.record, JobEvent)
    kept = decides.jobs[plan.job].row
    decides = Scheduler({"express": 1.0, "standard": 1.0, "bulk": 1.0})
    decides.on_plan(plan, T0 + 300)
    (refused, *_) = decides.on_review(refuse, T0 + 2_000)
    assert isinstance(refused.record, JobEvent)
    return {
        "dispatch.state/texts-in-review": row,
        "dispatch.state/texts-approved": kept,
        "reviews.open/texts": case,
        "reviews.decided/texts-approved": approve,
        "reviews.decided/texts-refused": refuse,
        "jobs.events/texts-review-wanted": wanted,
        "jobs.events/texts-approved": approved.record,
        "jobs.events/texts-refused": refused.record,
    }


def decision(verdict: Literal["approve", "refuse"], case: ReviewCase, reason: str) -> ReviewDecision:
    """What a person says of all that waits."""
    objects = objects_of(case)
    return ReviewDecision(
        job=case.job, verdict=verdict, objects=objects, reason=reason, by="ada", at_ms=T0 + 2_000
    )  # fmt: skip


def scheduler(plan: Plan) -> Goldens:
    def chunk(index: int) -> ChunkProgress:
        found = object_of(plan, index)
        return ChunkProgress(
            state="r", attempt=1, at_ms=T0 + 400, sha256=found.sha256, size_bytes=found.size_bytes, device_s=0.2,
            frames_checked=3, score=0.004,
        )  # fmt: skip

    given = ChunkProgress(state="d", attempt=1, at_ms=T0 + 500)
    running = (chunk(0), given, *[ChunkProgress(state="w")] * (len(plan.chunks) - 2))
    mark = fingerprint(plan.request)
    row = SchedulerRow(job=plan.job, phase="active", admitted=True, fingerprint=mark, at_ms=T0 + 300, chunks=running,
                       started_at_ms=T0 + 400, moderator=PROVIDER)  # fmt: skip
    doubted = replace(chunk(0), state="v", category=DOUBT.category, score=DOUBT.score)
    in_review = replace(row, chunks=(doubted, *running[1:]), review_at_ms=T0 + 900)
    case = open_case(Job(plan, in_review))
    all_ready = tuple(chunk(i) for i in range(len(plan.chunks)))
    return {
        "dispatch.state/active": row,
        "dispatch.state/assembling": replace(
            row, phase="assembling", at_ms=T0 + 2_000, chunks=all_ready, mux_attempt=1
        ),
        "dispatch.state/in-review": in_review,
        "dispatch.state/approved": replace(row, chunks=(replace(chunk(0), approved=True), *running[1:])),
        "reviews.open/one-chunk": case,
        "reviews.decided/approved": decision("approve", case, "a marble statue"),
        "reviews.decided/refused": decision("refuse", case, "no statue"),
        "dispatch.state/done": SchedulerRow(
            job=plan.job, phase="done", fingerprint=mark, at_ms=T0 + 4_200, admitted=True
        ),
        "dispatch.state/cancelled-with-a-chunk-on-a-device": SchedulerRow(
            job=plan.job, phase="cancelled", fingerprint="", at_ms=T0 + 950, admitted=True, reason_code="cancelled",
            reason="the order was withdrawn", counted=(mark_of("report", "1"), mark_of("report", "2")),
            late_device_s=0.05,
        ),
        "dispatch.state/cancelled-before-its-plan-came": SchedulerRow(
            job=plan.job, phase="cancelled", fingerprint="", at_ms=T0 + 900, reason_code="cancelled",
            reason="the customer changed their mind",
        ),
        "dispatch.state/held-and-moved": replace(
            row, steering=merged(of_command(ordered("hold")), of_command(ordered("move-lane")))
        ),
        "dispatch.state/orders-before-the-plan-came": SchedulerRow(
            job=plan.job, phase="awaited", fingerprint="", at_ms=T0 + 900, steering=of_command(ordered("hold"))
        ),
        "costs.learnt/shapes": LearntCost(
            pool="cpu", model=plan.render.model, model_revision=plan.render.model_revision,
            width_px=plan.render.width_px, height_px=plan.render.height_px, steps=plan.render.steps,
            frames=plan.render.clip_frames, chunk_s=0.41, chunks=12, at_ms=T0 + 900,
        ),
        "dispatch.state/parked-line": ParkedLine(line=line_of(plan), parked=1_204),
        "dispatch.state/account": Account(
            tenant="acme", day=20_783, spent_s=812.5, rated_until_us=1_000 * T0 + 1_100_500
        ),
        "tenants.quotas/everybody": Quota(tenant="*", requests_per_s=5.0, burst_requests=50, by="ada", at_ms=T0),
        "tenants.quotas/acme": Quota(
            tenant="acme", running_chunks=4, queued_jobs=10_000, device_s_per_day=36_000.0, job_device_s=900.0,
            over="refuse", refunds=("failed", "rejected"), weight=2.0, by="ada", at_ms=T0,
        ),
        **_trail(plan),
        "tenants.prompts/everybody": PromptRules(tenant="*", refuse_from="low", by="ada", at_ms=T0),
        "tenants.prompts/acme": PromptRules(
            tenant="acme", terms=("rival brand", "secret project*"), threshold=0.5,
            categories=(CategoryRule(category="violence", refuse_from="high", threshold=0.9),), by="ada", at_ms=T0,
        ),
        "tenants.prompts/lenient": PromptRules(
            tenant="films", refuse_from="high", review_terms_from="medium", review_from=0.3, by="ada", at_ms=T0
        ),
        "tenants.prompts/usual": PromptRules(
            tenant="usual", refuse_from="medium", threshold=1.0, review_terms_from="low", by="ada", at_ms=T0
        ),
        "tenants.prompts/nobody-is-asked": PromptRules(
            tenant="kids", review_terms_from="never", review_from=1.0, by="ada", at_ms=T0
        ),
        "tenants.prompts/the-gravest-are-left-to-a-person": PromptRules(
            tenant="archive", threshold=1.0, review_terms_from="high", review_from=0.5, by="ada", at_ms=T0,
            categories=(CategoryRule(category="violence", refuse_from="never"),),
        ),
        "usage.ledger/reserved": _entry(plan, "reserved", reserved_s=1.6),
        "usage.ledger/spent": _entry(plan, "spent", spent_s=0.412, chunk=0),
        "usage.ledger/settled": _entry(plan, "settled", reserved_s=-1.6, refunded_s=0.412),
    }  # fmt: skip
