"""Kafka Connect: sink configurations for what leaves, and a worker's properties. Pure, apart from committed schemas.

JDBC: Debezium's JDBC sink (Apache-2.0, on Maven Central). S3: Confluent's S3 sink. Values are Avro in Confluent's wire
format, read by Confluent's AvroConverter; a tenant's replies to JSON requests are read by Kafka's JsonConverter.
Secrets are references that the worker resolves (`config.providers=env`), never values.
"""

import json
from collections.abc import Iterator, Mapping

from ops.exports.tables import DEFAULT, Column, Target, columns_of, table_name, time_of
from schemas.topics import JOBS_FINISHED, REPLIES_DEFAULT, USAGE_METERED, Topic

STRINGS = "org.apache.kafka.connect.storage.StringConverter"
JSON = "org.apache.kafka.connect.json.JsonConverter"
AVRO = "io.confluent.connect.avro.AvroConverter"
FLATTEN = "org.apache.kafka.connect.transforms.Flatten$Value"
REPLACE = "org.apache.kafka.connect.transforms.ReplaceField$Value"
JDBC = "io.debezium.connector.jdbc.JdbcSinkConnector"
S3 = "io.confluent.connect.s3.S3SinkConnector"
FILE = "org.apache.kafka.connect.file.FileStreamSinkConnector"
PRIMARY_KEYS = {JOBS_FINISHED: "job", USAGE_METERED: "id"}
Config = dict[str, str]


def files(target: Target = DEFAULT) -> dict[str, str]:
    """File name -> text. A connector's file is what PUT /connectors/<name>/config takes; the name is the file's."""
    made = {f"jdbc-{_slug(topic)}.json": jdbc_sink(topic, target) for topic in PRIMARY_KEYS}
    made |= {f"s3-{_slug(topic)}.json": s3_sink(topic, target) for topic in PRIMARY_KEYS}
    made[f"s3-{_slug(REPLIES_DEFAULT)}.json"] = s3_replies(target)
    made[f"file-{_slug(REPLIES_DEFAULT)}.json"] = file_replies(target)
    texts = {name: json.dumps(config, indent=2) + "\n" for name, config in made.items()}
    texts["worker.properties"] = "".join(f"{line}\n" for line in _worker(target))
    return texts


def _slug(topic: Topic) -> str:
    return topic.entity.replace(".", "-")


def jdbc_sink(topic: Topic, target: Target) -> Config:
    """One row for each job, written over when a record comes twice. Nested records become columns by `_`."""
    dropped, dropped_flat = _unfit(columns_of(topic))
    return {
        **_sink(JDBC, topic, target),
        **_avro(target),
        "connection.url": "${env:REELBUS_JDBC_URL}",
        "connection.username": "${env:REELBUS_JDBC_USER}",
        "connection.password": "${env:REELBUS_JDBC_PASSWORD}",
        "insert.mode": "upsert",
        "primary.key.mode": "record_value",
        "primary.key.fields": PRIMARY_KEYS[topic],
        "collection.name.format": f"{target.prefix.replace('.', '_').replace('-', '_')}_{table_name(topic)}",
        "schema.evolution": "basic",
        **_transforms(dropped, dropped_flat),
    }


def _transforms(dropped: list[str], dropped_flat: list[str]) -> Config:
    """Flatten, which refuses maps; a database has no one type for maps and arrays, so both are left out by name."""
    steps: dict[str, Mapping[str, str]] = {}
    if dropped:
        steps["maps"] = {"type": REPLACE, "exclude": ",".join(dropped)}
    steps["flatten"] = {"type": FLATTEN, "delimiter": "_"}
    if dropped_flat:
        steps["arrays"] = {"type": REPLACE, "exclude": ",".join(dropped_flat)}
    options = {f"transforms.{step}.{key}": value for step, given in steps.items() for key, value in given.items()}
    return {"transforms": ",".join(steps), **options}


def _unfit(columns: tuple[Column, ...]) -> tuple[list[str], list[str]]:
    """Maps at the top level, and arrays wherever they are, by their names after Flatten."""
    maps = [column.name for column in columns if column.kind.of == "map"]
    return maps, list(_arrays(columns, ""))


def _arrays(columns: tuple[Column, ...], before: str) -> Iterator[str]:
    for column in columns:
        name = f"{before}{column.name}"
        match column.kind.of:
            case "array":
                yield name
            case "row":
                yield from _arrays(column.kind.columns, f"{name}_")
            case "map" if before:
                raise TypeError(f"{name}: Flatten cannot pass a map inside a record")


def s3_sink(topic: Topic, target: Target) -> Config:
    """Gzipped JSON lines, one folder for each day of the record's own time; file names repeat: nothing is doubled."""
    return {
        **_sink(S3, topic, target),
        **_avro(target),
        **_s3(target),
        "timestamp.extractor": "RecordField",
        "timestamp.field": time_of(topic),
    }


def s3_replies(target: Target) -> Config:
    """The same for a tenant's replies to JSON requests; another tenant's differs in `topics` only."""
    return {
        **_sink(S3, REPLIES_DEFAULT, target),
        "value.converter": JSON,
        "value.converter.schemas.enable": "false",
        **_s3(target),
        "timestamp.extractor": "RecordField",
        "timestamp.field": time_of(REPLIES_DEFAULT),
    }


def file_replies(target: Target) -> Config:
    """Replies to JSON requests as lines of a file: for a first try, on Kafka alone."""
    return {
        **_sink(FILE, REPLIES_DEFAULT, target),
        "value.converter": STRINGS,
        "file": "${env:REELBUS_REPLIES_FILE}",
    }


def _s3(target: Target) -> Config:
    return {
        "storage.class": "io.confluent.connect.s3.storage.S3Storage",
        "format.class": "io.confluent.connect.s3.format.json.JsonFormat",
        "s3.bucket.name": "${env:REELBUS_EXPORT_BUCKET}",
        "s3.region": "${env:REELBUS_EXPORT_REGION}",
        "s3.compression.type": "gzip",
        "topics.dir": target.prefix,
        "flush.size": "10000",
        # By record time, not by the clock: a task that starts again writes the same files.
        "rotate.interval.ms": "600000",
        "partitioner.class": "io.confluent.connect.storage.partitioner.TimeBasedPartitioner",
        "path.format": "'day'=YYYY-MM-dd",
        "partition.duration.ms": "86400000",
        "locale": "en-US",
        "timezone": "UTC",
    }


def _sink(connector: str, topic: Topic, target: Target) -> Config:
    return {
        "connector.class": connector,
        "topics": topic.name(target.prefix),
        # A file has one writer, and two tasks that create one table at the same moment fail (seen with PostgreSQL).
        "tasks.max": str(topic.partitions) if connector == S3 else "1",
        "key.converter": STRINGS,
        # track writes in transactions; what was aborted never happened.
        "consumer.override.isolation.level": "read_committed",
        "consumer.override.auto.offset.reset": "earliest",
    }


def _avro(target: Target) -> Config:
    return {"value.converter": AVRO, "value.converter.schema.registry.url": target.schema_registry}


def _worker(target: Target) -> Iterator[str]:
    yield "# Generated by `reelbus export connect`; do not edit. For bin/connect-standalone.sh."
    yield f"bootstrap.servers={target.bootstrap_servers}"
    yield f"key.converter={STRINGS}"
    yield f"value.converter={JSON}"
    yield "value.converter.schemas.enable=false"
    yield "config.providers=env"
    yield "config.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider"
    yield "# Only what a connector may see of the environment."
    yield "config.providers.env.param.allowlist.pattern=^REELBUS_(JDBC|EXPORT|REPLIES)_[A-Z_]+$"
    yield "connector.client.config.override.policy=All"
    yield "offset.storage.file.filename=connect.offsets"
    yield "offset.flush.interval.ms=10000"
    yield "# Folder with the connectors' own folders."
    yield "plugin.path=plugins"
    yield "listeners=http://127.0.0.1:8083"
