"""Mistakes in what a video shows, in names, and in who is told what."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any


def chunk_off_by_one(stage: str) -> None:
    """mux counts chunks from 1: it takes each chunk's successor, and the first at the end."""
    if stage != "mux":
        return
    from stream_processors.mux import shell

    assemble = shell.assemble

    def shifted(plan: Any, files: Any, *rest: Any) -> Any:
        return assemble(plan, [files[(i + 1) % len(files)] for i in range(len(files))], *rest)

    shell.assemble = shifted


def webhook_id_per_attempt(stage: str) -> None:
    """notify gives every try an id of its own, so the receiver cannot tell a repeated one."""
    if stage != "notify":
        return
    from stream_processors.notify import core

    core.message_id = lambda job: uuid.uuid4().hex


def reply_topic_by_job_id(stage: str) -> None:
    """reply remembers where the owner of a job_id wants its replies; two tenants may use the same job_id."""
    if stage != "reply":
        return
    from msgspec.structs import replace

    from stream_processors.reply import shell

    answer, known = shell.answer, {}

    def remembering(told: Any) -> Any:
        topic = known.setdefault(told.job_id, told.reply_topic)
        return answer(replace(told, reply_topic=topic))

    shell.answer = remembering


def chunk_name_without_tenant(stage: str) -> None:
    """The name of a chunk leaves out whose it is: tenants who ask for the same share it."""
    from msgspec.structs import replace

    from schemas import ids

    name, key = ids.chunk_id, ids.chunk_object_key
    ids.chunk_id = lambda spec: name(replace(spec, tenant="all"))
    ids.chunk_object_key = lambda tenant, chunk: key("all", chunk)


MISTAKES: Mapping[str, Callable[[str], None]] = {
    "chunk-index-off-by-one": chunk_off_by_one,
    "webhook-id-per-attempt": webhook_id_per_attempt,
    "reply-topic-by-job-id": reply_topic_by_job_id,
    "chunk-name-without-tenant": chunk_name_without_tenant,
}
