"""A registry of one's own: Apicurio by its Confluent API, Confluent's own client beside us, and stages that use it."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ops import schema_files, schema_registry
from ops.bus import clients
from ops.local import apicurio
from ops.schema_registry import Registry, subject_of, text_of
from ops.schema_registry_rest import Incompatible, Rest
from ops.settings import Settings
from producers.client.reader import TopicReader
from schemas import catalog, codec
from schemas.errors import Fatal, InvalidMessage
from schemas.events import JobEvent
from schemas.plan import Plan
from schemas.request import JobOrder, JobRequest, Shot
from schemas.topics import (
    JOBS_CLEARED,
    JOBS_CONTROL,
    JOBS_EVENTS,
    JOBS_REQUESTED,
    ORDERS_REQUESTED,
    PLANS_DRAFTED,
    TENANTS_PROMPTS,
)
from tests.conftest import MakeSettings, unavailable
from tests.e2e.reading import read_all
from tests.e2e.stage_process import running

DEADLINE_S = 120.0
STRANGERS = 90
"""Schemas that are there before ours, so that no id is by chance that of the file registry."""
REQUEST = JobRequest(job_id="from-java", shots=(Shot(prompt="a red ball", duration_s=2.0),))


@dataclass(frozen=True)
class _Real:
    """A running Apicurio that holds our schemas."""

    url: str
    registry: Registry


def _all_schemas() -> list[dict[str, Any]]:
    return [version.schema for versions in schema_files.committed().values() for version in versions]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Real]:
    try:
        apicurio.fetch()
    except Fatal as exc:
        unavailable(f"no Apicurio: {exc}")
    with apicurio.running(tmp_path_factory.mktemp("apicurio")) as url:
        registry = Registry(Rest(url))
        for number in range(STRANGERS):
            other = {"type": "record", "name": f"R{number}", "fields": [{"name": "x", "type": "string"}]}
            registry.rest.register(f"stranger-{number}", json.dumps(other))
        with pytest.raises(Fatal, match="run `reelbus schemas push`"):
            registry.prepare(["JobRequest"])
        first: dict[str, bool] = {}
        for subject, _, new in schema_registry.push(registry, _all_schemas()):
            first.setdefault(subject, new)  # to a registry, one that differs in its docs alone is no new version
        assert all(first.values())
        yield _Real(url, registry)


@pytest.fixture
def in_use(real: _Real) -> Iterator[_Real]:
    catalog.use(real.registry)
    yield real
    catalog.use(catalog.committed())


def _theirs(url: str) -> Any:
    """Confluent's client and its Avro classes."""
    from confluent_kafka.schema_registry import SchemaRegistryClient, avro

    # It asks Apicurio for associations, which that does not know; once no answer came, and without a time-out of its
    # own the client waits for ever. With one it asks again.
    return SchemaRegistryClient({"url": url, "timeout": 10}), avro


def _context(topic: str) -> Any:
    from confluent_kafka.serialization import MessageField, SerializationContext

    return SerializationContext(topic, MessageField.VALUE)


def test_pushing_again_changes_nothing(real: _Real) -> None:
    again = list(schema_registry.push(Registry(Rest(real.url)), _all_schemas()))
    assert [new for _, _, new in again] == [False] * len(_all_schemas())
    assert min(number for _, number, _ in again) > STRANGERS
    subjects = {subject for subject, _, _ in again}
    assert {"reelbus.v1.JobRequest", "reelbus.v1.JobFinished"} <= subjects
    # Every version has an id of its own; records are written with that of the last.
    latest = {subject: number for subject, number, _ in again}
    assert all(number == real.registry.id_of(subject.rpartition(".")[2]) for subject, number in latest.items())


def test_our_frames_have_the_registrys_ids_and_come_back(in_use: _Real) -> None:
    raw = codec.encode(REQUEST)
    assert int.from_bytes(raw[1:5], "big") == in_use.registry.id_of("JobRequest")
    assert in_use.registry.id_of("JobRequest") != catalog.committed().id_of("JobRequest")
    assert codec.decode(JobRequest, raw) == REQUEST
    assert codec.decode(JobRequest, codec.encode(REQUEST, "json")) == REQUEST


def test_confluents_deserializer_reads_what_we_write(in_use: _Real) -> None:
    client, avro = _theirs(in_use.url)
    read = avro.AvroDeserializer(client)(codec.encode(REQUEST), _context("reelbus.jobs.requested.standard.v1"))
    assert (read["job_id"], read["shots"][0]["prompt"], read["lane"]) == ("from-java", "a red ball", "standard")


OWN = {
    "type": "record", "name": "JobRequest", "namespace": "com.example.shop", "fields": [
        {"name": "job_id", "type": "string"},
        {"name": "order_number", "type": "long"},
        {"name": "shots", "type": {"type": "array", "items": {"type": "record", "name": "Shot", "fields": [
            {"name": "prompt", "type": "string"}, {"name": "duration_s", "type": "float"}]}}},
    ],
}  # fmt: skip


def _serialized(url: str, topic: str, job_id: str) -> bytes:
    """By Confluent's serializer with a schema of the caller's own, registered under the topic's name as it does."""
    client, avro = _theirs(url)
    serialize = avro.AvroSerializer(client, json.dumps(OWN))
    plain = {"job_id": job_id, "order_number": 7, "shots": [{"prompt": "a red ball", "duration_s": 2.0}]}
    return bytes(serialize(plain, _context(topic)))


def test_a_callers_own_schema_under_its_own_subject_is_read(in_use: _Real) -> None:
    raw = _serialized(in_use.url, "reelbus.jobs.requested.bulk.v1", "from-java")
    assert codec.decode(JobRequest, raw) == REQUEST


def test_an_unknown_id_and_schemas_of_other_kinds_are_dead_letters(in_use: _Real) -> None:
    rest = in_use.registry.rest
    recursive = {"type": "record", "name": "JobOrder", "fields": [{"name": "x", "type": ["null", "JobOrder"]}]}
    deep = rest.register("evil-value", json.dumps(recursive))
    for schema_id, words in ((10**6, "is not known to the registry"), (deep, "has the type JobOrder inside itself")):
        with pytest.raises(InvalidMessage, match=words):
            codec.decode(JobOrder, b"\x00" + schema_id.to_bytes(4, "big") + b"\x02" * 50_000 + b"\x00")


def test_the_registry_keeps_our_rule(real: _Real) -> None:
    schema = catalog.load("job-order")
    schema["fields"].append({"name": "colour", "type": "string", "doc": "No default."})
    with pytest.raises(Incompatible, match=r"reelbus\.v1\.JobOrder/versions answers 409"):
        real.registry.rest.register(subject_of(schema), text_of(schema))
    schema["fields"][-1]["default"] = ""
    assert real.registry.rest.register(subject_of(schema), text_of(schema)) > STRANGERS


def test_the_command_pushes_and_says_what_was_there(real: _Real, bare_settings: Settings) -> None:
    settings = bare_settings.replace(schema_registry=real.url)
    with running(settings, "ops", "schemas", "push") as process:
        assert process.wait(DEADLINE_S) == 0
    said = (Path(settings.data_dir) / "push.log").read_text()
    assert f"reelbus.v1.JobOrder: there already, id {real.registry.id_of('JobOrder')}" in said
    assert f"0 of {len(_all_schemas())} schemas were new to {real.url}" in said


@pytest.mark.kafka
def test_stages_write_with_the_registrys_ids_what_confluents_client_reads(
    in_use: _Real, make_settings: MakeSettings
) -> None:
    topics = (*JOBS_REQUESTED.values(), *JOBS_CLEARED.values(), *PLANS_DRAFTED.values(), JOBS_EVENTS, JOBS_CONTROL)
    settings = make_settings(topics=(*topics, ORDERS_REQUESTED, TENANTS_PROMPTS), schema_registry=in_use.url)
    requested = JOBS_REQUESTED["standard"].name(settings.prefix)
    producer = clients.producer(settings)
    producer.produce(requested, key="from-java", value=_serialized(in_use.url, requested, "from-java"))
    producer.produce(requested, key="b", value=codec.encode(JobRequest(job_id="b", shots=REQUEST.shots), "json"))
    assert producer.flush(60) == 0
    drafted = PLANS_DRAFTED["standard"]
    with running(settings, "ops", "run", "moderate"), running(settings, "ops", "run", "split"):
        deadline = time.monotonic() + DEADLINE_S
        while len(plans := read_all(settings, drafted)) < 2:
            assert time.monotonic() < deadline, (Path(settings.data_dir) / "moderate.log").read_text()[-2000:]
    client, avro = _theirs(in_use.url)
    for record in plans:
        assert record.value is not None
        plan = codec.decode(Plan, record.value)
        assert int.from_bytes(record.value[1:5], "big") == in_use.registry.id_of("Plan")
        assert avro.AvroDeserializer(client)(record.value, _context(record.topic))["job"] == plan.job
    formats = {plan.job: plan.origin.format for r in plans if (plan := codec.decode(Plan, r.value))}
    assert formats == {"default/from-java": "avro", "default/b": "json"}
    catalog.use(catalog.committed())
    with TopicReader(settings, [JOBS_EVENTS]) as reader:  # what the SDK and the command line read with
        events: list[JobEvent] = []
        while not reader.caught_up:
            events += [entry.record for entry in reader.poll(0.1) if isinstance(entry.record, JobEvent)]
    assert {event.type for event in events} == {"job.accepted", "job.planned"}


@pytest.mark.kafka
def test_a_stage_does_not_start_on_a_registry_that_lacks_its_schemas(
    tmp_path: Path, make_settings: MakeSettings
) -> None:
    with apicurio.running(tmp_path) as url:
        settings = make_settings(topics=(), schema_registry=url)
        with running(settings, "ops", "run", "split") as process:
            assert process.wait(DEADLINE_S) == 1
    said = (Path(settings.data_dir) / "split.log").read_text()
    assert "run `reelbus schemas push` before starting it" in said
