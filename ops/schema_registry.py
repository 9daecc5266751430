"""A schema registry by URL in the place of the file registry (`schemas.catalog`).

Subjects follow RecordNameStrategy: `reelbus.v1.JobRequest`, whatever the topic. One record is carried by up to seven
topics of ours (lanes, retries) and by the reply topics of every tenant, and `dispatch.state` carries two records;
TopicNameStrategy would want a copy per topic, and cannot say the latter. Readers need no subject: a frame's id alone
leads to its schema, so callers may register theirs under any subject and any strategy.

We only look up, and never register while running: `reelbus schemas push` registers.
"""

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

from ops import schema_shape
from ops.schema_registry_rest import NotRegistered, Rest, read_credentials
from ops.settings import Settings, SettingsError
from schemas import catalog
from schemas.errors import Fatal, InvalidMessage

START_PATIENCE_S = 60.0
UNKNOWN_FOR_S = 30.0
"""An id that the registry does not know is asked for again only after this: forged ids cost one request each."""
MAX_CACHED = 1_000
RULE = "FULL_TRANSITIVE"


def subject_of(schema: dict[str, Any]) -> str:
    """Subject of a schema: the full name of its record."""
    return f"{schema['namespace']}.{schema['name']}"


class Registry:
    """Ids and schemas from a registry, each asked for once. A `schemas.catalog.Catalog`; safe in several threads.

    `id_of` and `writer` raise Transient when the registry is out of reach, Fatal when it refuses us. Nothing that is
    in the cache needs the registry again, so work goes on while it is down.
    """

    def __init__(self, rest: Rest) -> None:
        self.rest = rest
        self._ids: dict[str, int] = {}
        self._writers: dict[int, catalog.Schema] = {}
        self._refused: dict[int, tuple[float, str]] = {}

    def id_of(self, record: str) -> int:
        """Id of our schema of a record. Raises Fatal when nobody has registered it."""
        if record not in self._ids:
            schema = catalog.load(catalog.file_name(record))
            try:
                self._ids[record] = self.rest.id_of(subject_of(schema), text_of(schema))
            except NotRegistered:
                raise Fatal(
                    f"schema registry {self.rest.url} has no {record} as this version of reelbus writes it "
                    f"(subject {subject_of(schema)}): run `reelbus schemas push` before starting it"
                ) from None
        return self._ids[record]

    def writer(self, schema_id: int) -> catalog.Schema:
        """Schema that a frame was written with. Raises InvalidMessage: unknown, no Avro record, not safe to read."""
        found = self._writers.get(schema_id)
        if found is None:
            self._still_refused(schema_id)
            try:
                found = self._fetched(schema_id)
            except InvalidMessage as exc:
                _remember(self._refused, schema_id, (time.monotonic() + UNKNOWN_FOR_S, str(exc)))
                raise
            _remember(self._writers, schema_id, found)
        return found

    def prepare(self, records: Iterable[str], patience_s: float = START_PATIENCE_S) -> None:
        """Ask for the ids of records now, waiting for a registry that does not answer yet."""
        self.rest.give_up_s = time.monotonic() + patience_s
        try:
            for record in records:
                self.id_of(record)
        finally:
            self.rest.give_up_s = 0.0

    def _still_refused(self, schema_id: int) -> None:
        until_s, why = self._refused.get(schema_id, (0.0, ""))
        if time.monotonic() < until_s:
            raise InvalidMessage(why)

    def _fetched(self, schema_id: int) -> catalog.Schema:
        try:
            answer = self.rest.schema(schema_id)
        except NotRegistered:
            raise InvalidMessage(f"schema id {schema_id} is not known to the registry {self.rest.url}") from None
        kind = answer.get("schemaType") or "AVRO"
        if kind != "AVRO":
            raise InvalidMessage(f"schema id {schema_id} is {kind}; expected AVRO")
        if answer.get("references"):
            raise InvalidMessage(f"schema id {schema_id} refers to other subjects; register it in one piece")
        text = answer.get("schema")
        if not isinstance(text, str):
            raise Fatal(f"schema registry {self.rest.url} gives no text for schema id {schema_id}")
        try:
            return schema_shape.parsed(text)
        except InvalidMessage as exc:
            raise InvalidMessage(f"schema id {schema_id} {exc}") from None


def text_of(schema: dict[str, Any]) -> str:
    """A schema as it is sent to a registry: always the same text, because some registries compare texts."""
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def _remember(cache: dict[int, Any], schema_id: int, value: Any) -> None:
    if len(cache) >= MAX_CACHED:
        del cache[next(iter(cache))]
    cache[schema_id] = value


def install(settings: Settings, records: Iterable[str] = (), patience_s: float = START_PATIENCE_S) -> None:
    """Make this process read and write with the registry that the settings name; without one, with the file registry.

    records: what this process writes; their ids are asked for now, so that a registry that is down or lacks one is
             noticed before any record is read. Raises Transient (still down after patience_s), Fatal, SettingsError.

    A process has one registry: another one than that in use is an error, for the same id means another schema there.
    """
    current = catalog.in_use()
    url = settings.schema_registry.rstrip("/")
    if isinstance(current, Registry):
        if current.rest.url != url:
            raise SettingsError(
                f"schema_registry is {url or 'empty'}, and this process already uses {current.rest.url}; "
                "one process uses one registry"
            )
    elif url:
        current = Registry(Rest(url, read_credentials(settings.schema_registry_auth_file)))
        catalog.use(current)
    if isinstance(current, Registry):
        current.prepare(records, patience_s)


def push(registry: Registry, versions: Iterable[dict[str, Any]]) -> Iterator[tuple[str, int, bool]]:
    """Register schemas, oldest version of a record first, and set the rule of their subjects.

    Yields (subject, id, whether it is new). Safe to repeat. Raises Incompatible where the registry holds something
    else under the subject, and as `Rest` does.
    """
    for schema in versions:
        subject, text = subject_of(schema), text_of(schema)
        try:
            yield subject, registry.rest.id_of(subject, text), False
        except NotRegistered:
            made = registry.rest.register(subject, text)
            registry.rest.set_compatibility(subject, RULE)
            yield subject, made, True
