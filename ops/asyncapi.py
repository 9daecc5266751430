"""The AsyncAPI 3.1 document: what every topic carries, from the tables of topics and stages and the schemas.

The document speaks for an application that uses reelbus: `send` is what it writes, `receive` what it may read. Topics
between the stages are listed as channels without an operation.
"""

import json
from collections.abc import Iterable
from importlib import resources
from typing import Any

from ops import schemas_admin
from ops.exports import asyncapi_channels as channels
from ops.exports import asyncapi_headers, json_schemas
from ops.settings import Settings
from ops.stages import READ_OUTSIDE, WRITTEN_OUTSIDE
from ops.topics_wanted import wanted
from schemas import catalog
from schemas.codec import MAX_RECORD_BYTES
from schemas.topics import LIVE_TOPICS, ORDERS_REQUESTED, DeadLetters

VERSION = "3.1.0"
AVRO = "application/vnd.apache.avro+json;version=1.9.0"
CALLERS_REPLIES = "replies.caller"
ABOUT = (
    "Video generation on Kafka. A job request goes to one of three topics, one for each class of service; what becomes "
    "of it comes back on the reply topic that the request names, and ends as exactly one record on `jobs.finished`.\n\n"
    "Callers write plain JSON or Avro in Confluent's wire format (byte 0x00, four bytes of schema id, payload); the "
    f"first byte says which. A record is at most {MAX_RECORD_BYTES} bytes. Results are Avro; replies have the format "
    "of the request. Within v1 schemas change compatibly in both directions (FULL_TRANSITIVE); the next version would "
    "be new topics beside these."
)  # fmt: skip


def document(prefix: str = Settings().prefix) -> dict[str, Any]:
    """The whole document as plain JSON data, for topics whose names start with `prefix`."""
    configured = {want.name: want for want in wanted(prefix)}
    made = {topic.entity: channels.channel(topic, prefix, configured[topic.name(prefix)]) for topic in LIVE_TOPICS}
    made[CALLERS_REPLIES] = channels.callers_replies(prefix)
    for topic in LIVE_TOPICS:
        if (dead := configured.get(DeadLetters(topic).name(prefix))) is not None:
            made[f"dlq.{topic.entity}"] = channels.dead_letters(topic, prefix, dead)
    return {
        "asyncapi": VERSION,
        "info": _info(prefix),
        "defaultContentType": "application/avro",
        "servers": _servers(),
        "channels": made,
        "operations": _operations(),
        "components": _components(),
    }


def text(prefix: str = Settings().prefix) -> str:
    """The document as it is committed: JSON, which every reader of YAML reads as well."""
    return json.dumps(document(prefix), indent=1, ensure_ascii=False) + "\n"


def _info(prefix: str) -> dict[str, Any]:
    newest = max(int(number) for number in json.loads(resources.files("schemas").joinpath("ids.json").read_text()))
    return {
        "title": "reelbus",
        # Major: the v1 of all topic names. Minor: every new version of a schema takes the next id.
        "version": f"1.{newest}.0",
        "description": ABOUT,
        "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        "tags": [
            {"name": "send", "description": "Topics that callers write."},
            {"name": "receive", "description": "Topics meant for callers' own consumers."},
            {"name": "internal", "description": "Topics between the stages; they may change without notice."},
            {"name": "dead-letters", "description": "Records that could not be used, with the reason in headers."},
        ],
        "x-prefix": prefix,
    }


def _servers() -> dict[str, Any]:
    registry = {"kafka": {"schemaRegistryVendor": "confluent", "bindingVersion": channels.BINDING}}
    return {
        "local": {
            "host": Settings().bootstrap_servers,
            "protocol": "kafka",
            "description": "What `reelbus up` starts; schema ids are those of `schemas/ids.json`.",
        },
        "production": {
            "host": "{bootstrap}",
            "protocol": "kafka-secure",
            "description": "The operator's brokers.",
            "variables": {
                "bootstrap": {"description": "host:port of a broker", "examples": ["kafka.example.com:9093"]}
            },
            "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in ("scramSha512", "mutualTls")],
            "bindings": registry,
        },
    }


def _operations() -> dict[str, Any]:
    made: dict[str, Any] = {}
    for topic in WRITTEN_OUTSIDE:
        ask = topic != ORDERS_REQUESTED
        title = f"Ask for a video, lane {topic.entity.rpartition('.')[2]}" if ask else "Cancel a job"
        made[f"send-{topic.entity}"] = {**_operation("send", topic.entity, title), "reply": _reply(ask)}
    for topic in READ_OUTSIDE:
        made[f"receive-{topic.entity}"] = _operation("receive", topic.entity, topic.about)
    return made


def _operation(action: str, entity: str, title: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{entity}"}, "title": title, "tags": [{"name": action}]}


def _reply(ask: bool) -> dict[str, Any]:
    """Where the answers come. An order names no topic: its job's request did."""
    address = {
        "location": "$message.payload#/reply_topic",
        "description": "Full name of one of the tenant's reply topics; without it there are no replies.",
    }
    reply: dict[str, Any] = {"channel": {"$ref": f"#/channels/{CALLERS_REPLIES}"}}
    return {"address": address, **reply} if ask else reply


def _components() -> dict[str, Any]:
    records: Iterable[str] = sorted({kind.__name__ for topic in LIVE_TOPICS for kind in channels.records_of(topic)})
    avro = {f"{name}.avro": {"schemaFormat": AVRO, "schema": catalog.load(catalog.file_name(name))} for name in records}
    return {
        "schemas": {
            **json_schemas.components(channels.JSON_TOO, schemas_admin.docs(), channels.PLACE),
            **avro,
            **asyncapi_headers.SCHEMAS,
        },
        "messages": {
            "DeadLetter": {
                "name": "DeadLetter",
                "title": "A record that could not be used",
                "contentType": "application/octet-stream",
                "headers": {"$ref": f"{channels.PLACE}DeadLetterHeaders"},
            }
        },
        "correlationIds": {
            "job_id": {"location": "$message.payload#/job_id", "description": "The caller's name of the job."},
            "key": {"location": "$message.header#/ce_subject", "description": "The record key."},
        },
        "securitySchemes": {
            "scramSha512": {"type": "scramSha512", "description": "SASL/SCRAM over TLS, one user for each tenant."},
            "mutualTls": {"type": "X509", "description": "A client certificate for each tenant."},
        },
    }
