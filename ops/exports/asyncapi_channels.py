"""Channels and messages of the AsyncAPI document. Pure, apart from reading the committed schemas and examples."""

import json
import re
from importlib import resources
from typing import Any

from ops.stages import READ_OUTSIDE, STAGES, WRITTEN_OUTSIDE, Stage
from ops.topics_wanted import Wanted
from schemas import catalog
from schemas.events import JobReply
from schemas.request import JobOrder, JobRequest
from schemas.topics import DISPATCH_STATE, REPLIES_DEFAULT, DeadLetters, Topic

BINDING = "0.5.0"
PLACE = "#/components/schemas/"
JSON_TOO: tuple[type[Any], ...] = (JobRequest, JobOrder, JobReply)
"""Records that travel as JSON too: what callers write, and the answers in the format of the request."""
KEYS = {
    "job_id": "job_id of the record.",
    "job": "tenant/job_id.",
    "worker_id": "worker_id of the record.",
    "kind": "pool/model/revision/size/steps/frames.",
    "chunk_id": "chunk_id of the record.",
    "job#progress, job#plan or line#parked": "tenant/job_id, then #progress or #plan; or a line, then #parked.",
}


def records_of(topic: Topic) -> tuple[type[Any], ...]:
    """Records that a topic carries."""
    if topic.record is None:
        return ()
    return (topic.record, *topic.also)


def channel(topic: Topic, prefix: str, want: Wanted) -> dict[str, Any]:
    return {
        "address": topic.name(prefix),
        "title": topic.entity,
        "summary": topic.about,
        **({"description": told} if (told := _told(topic)) else {}),
        "tags": [{"name": kind} for kind in _kinds(topic)],
        "messages": {
            name: message
            for record in records_of(topic)
            for name, message in _messages(record, topic.key, topic.entity, topic in WRITTEN_OUTSIDE).items()
        },
        "bindings": {"kafka": _binding(want)},
        "x-key": KEYS.get(topic.key, topic.key),
        "x-written-by": _writers(topic),
        "x-read-by": [stage.name for stage in STAGES.values() if topic in stage.reads],
    }


def _told(topic: Topic) -> str:
    parts = ["Record timestamps are the broker's (LogAppendTime)."] if topic.broker_time else []
    if topic.compacted:
        parts.append("Compacted: the last record of every key stays; a record without value removes its key.")
    if topic.record is None:
        parts.append("Carries no records.")
    return " ".join(parts)


def _kinds(topic: Topic) -> list[str]:
    kinds = ["send"] * (topic in WRITTEN_OUTSIDE) + ["receive"] * (topic in READ_OUTSIDE)
    return kinds or ["internal"]


def _writers(topic: Topic) -> list[str]:
    def writes(stage: Stage) -> bool:
        return topic in stage.writes or (stage.writes_replies and topic == REPLIES_DEFAULT)

    return [stage.name for stage in STAGES.values() if writes(stage)]


def _binding(want: Wanted) -> dict[str, Any]:
    lists = {"cleanup.policy"}
    config: dict[str, Any] = {}
    for key, value in want.config.items():
        config[key] = value.split(",") if key in lists else int(value) if re.fullmatch(r"-?\d+", value) else value
    return {
        "topic": want.name,
        "partitions": want.partitions,
        "topicConfiguration": config,
        "bindingVersion": BINDING,
    }


def _messages(record: type[Any], key: str, entity: str, from_callers: bool) -> dict[str, dict[str, Any]]:
    """One message for each format in which the record travels on a topic."""
    name = record.__name__
    # jobs.replies is between two stages, and so always Avro.
    both = record in JSON_TOO and entity != "jobs.replies"
    formats = ("json", "avro") if both else ("avro",)
    return {f"{name}.{format}": _message(name, key, entity, format, from_callers) for format in formats}


def _message(record: str, key: str, entity: str, format: str, from_callers: bool) -> dict[str, Any]:
    framed = {
        "schemaIdLocation": "payload",
        "schemaIdPayloadEncoding": "confluent",
        "schemaLookupStrategy": "RecordNameStrategy",
    }
    message: dict[str, Any] = {
        "name": record,
        "title": f"{record} ({'JSON' if format == 'json' else 'Avro'})",
        "contentType": f"application/{format}",
        "headers": {"$ref": f"{PLACE}{'CallersHeaders' if from_callers else 'OurHeaders'}"},
        "payload": {"$ref": f"{PLACE}{record if format == 'json' else f'{record}.avro'}"},
        "correlationId": {"$ref": f"#/components/correlationIds/{'job_id' if _has_job_id(record) else 'key'}"},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": KEYS.get(key, "")},
                **(framed if format == "avro" else {}),
                "bindingVersion": BINDING,
            }
        },
    }
    if examples := _examples(entity, record):
        message["examples"] = examples
    return message


def _has_job_id(record: str) -> bool:
    return any(field["name"] == "job_id" for field in catalog.load(catalog.file_name(record))["fields"])


def _examples(entity: str, record: str) -> list[dict[str, Any]]:
    """Golden examples of a topic, by file name. dispatch.state carries several records, so its file names say which."""
    folder = resources.files("schemas").joinpath("examples", entity)
    if not folder.is_dir():
        return []
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    if entity == DISPATCH_STATE.entity:
        starts = {kind.__name__: catalog.file_name(kind.__name__) for kind in DISPATCH_STATE.also}
        which = {name: [f for f in files if f.name.startswith(start)] for name, start in starts.items()}
        files = which.get(record, [f for f in files if not f.name.startswith(tuple(starts.values()))])
    return [{"name": file.name.removesuffix(".json"), "payload": json.loads(file.read_text("utf-8"))} for file in files]


def callers_replies(prefix: str) -> dict[str, Any]:
    return {
        "address": None,
        "title": "A caller's reply topic",
        "summary": f"What a caller is told of its jobs: {prefix}.replies.<tenant>.v1, or "
        f"{prefix}.replies.<tenant>.<anything>.v1.",
        "description": "The request's `reply_topic` names it; it must be one of the tenant's. Format of the request.",
        "tags": [{"name": "receive"}],
        "messages": _messages(JobReply, "job_id", REPLIES_DEFAULT.entity, False),
        "bindings": {"kafka": {"bindingVersion": BINDING}},
        "x-key": KEYS["job_id"],
        "x-written-by": [stage.name for stage in STAGES.values() if stage.writes_replies],
        "x-read-by": [],
    }


def dead_letters(topic: Topic, prefix: str, want: Wanted) -> dict[str, Any]:
    return {
        "address": DeadLetters(topic).name(prefix),
        "title": f"dlq.{topic.entity}",
        "summary": f"Records of {topic.entity} that could not be used.",
        "description": "Key, value and headers as they were read; what is wrong is said in further headers.",
        "tags": [{"name": "dead-letters"}],
        "messages": {"DeadLetter": {"$ref": "#/components/messages/DeadLetter"}},
        "bindings": {"kafka": _binding(want)},
        "x-key": "As it was read.",
        "x-written-by": [stage.name for stage in STAGES.values() if topic in stage.reads],
        "x-read-by": [],
    }
