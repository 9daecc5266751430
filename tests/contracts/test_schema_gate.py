"""The gate lets pass what both sides can read, and names record, field and remedy of what they cannot."""

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import avro.compatibility
import avro.schema
import pytest

from ops import schema_files, schema_gate, schemas_admin

Schema = dict[str, Any]
Change = Callable[[Schema], Any]


def _schema(record: str = "JobRequest") -> Schema:
    return json.loads(json.dumps(schemas_admin.current()[record]))


def _field(schema: Schema, path: str) -> dict[str, Any]:
    """A field of a schema by path, e.g. shots.prompt."""
    name, _, rest = path.partition(".")
    found = next(field for field in schema["fields"] if field["name"] == name)
    if not rest:
        return found
    return _field(_record(found["type"]), rest)


def _record(kind: Any) -> Schema:
    if isinstance(kind, list):
        return _record(kind[-1])
    return kind if kind["type"] == "record" else _record(kind["items"])


def _drop(path: str) -> Change:
    owner, _, name = path.rpartition(".")

    def change(schema: Schema) -> None:
        record = _record(_field(schema, owner)["type"]) if owner else schema
        record["fields"] = [field for field in record["fields"] if field["name"] != name]

    return change


def _set(path: str, **values: Any) -> Change:
    return lambda schema: _field(schema, path).update(values)


def _limit(path: str, **values: Any) -> Change:
    return lambda schema: _field(schema, path).setdefault("limits", {}).update(values)


def _add(**field: Any) -> Change:
    return lambda schema: schema["fields"].append(field)


def _rename_nested(schema: Schema) -> None:
    _record(_field(schema, "shots")["type"])["name"] = "Scene"


BREAKING: dict[str, tuple[Change, str, bool]] = {
    "a field without default": (
        _add(name="colour", type="string"), r"JobRequest\.colour is new and has no default: .*give it a default", True),
    "a required field removed": (
        _drop("job_id"), r"JobRequest\.job_id is gone and had no default: .*keep it", True),
    "a nested required field removed": (
        _drop("shots.prompt"), r"JobRequest\.shots\[\]\.prompt is gone and had no default: .*keep it", True),
    "an optional field that callers send removed": (
        _drop("priority"), r"JobRequest\.priority is gone: JSON requests that have it would be refused; keep", False),
    "a field renamed": (
        _set("deadline_ms", name="expires_ms"), r"JobRequest\.deadline_ms is gone: .*keep it", False),
    "another type": (
        _set("priority", type="string", default="0"),
        r"JobRequest\.priority is string instead of long: .*add a field with another name", True),
    "a promotion, which only one side can read": (
        _set("priority", type="double", default=0.0), r"JobRequest\.priority is double instead of long", True),
    "a value that may be null from now on": (
        _set("job_id", type=["null", "string"]), r"JobRequest\.job_id is null or string instead of string", True),
    "a default lost": (
        lambda schema: _field(schema, "lane").pop("default"),
        r'JobRequest\.lane has lost its default "standard": .*give it back', False),
    "another default": (
        _set("lane", default="bulk"),
        r'JobRequest\.lane has the default "bulk" instead of "standard": .*keep the old default', False),
    "another unit": (
        _set("shots.duration_s", unit="ms"),
        r"JobRequest\.shots\[\]\.duration_s is in ms instead of s: add a field whose name has the new unit", False),
    "a smaller maximum": (
        _limit("shots.duration_s", maximum=60),
        r"JobRequest\.shots\[\]\.duration_s has maximum 60, and it was 600.*do not narrow it", False),
    "a limit where there was none": (
        _limit("metadata", minProperties=1),
        r"JobRequest\.metadata has minProperties 1, and there was no such limit", False),
    "another pattern": (
        _limit("job_id", pattern="^[a-z]+$"), r"JobRequest\.job_id has pattern .*do not narrow it", False),
    "a choice that is gone": (
        _limit("lane", values=["express", "standard"]),
        r'JobRequest\.lane no longer allows "bulk": keep old values', False),
    "a text that became a choice": (
        _limit("model", values=["shapes"]), r'JobRequest\.model allows only \["shapes"\], and allowed all', False),
    "a nested record renamed": (
        _rename_nested, r"JobRequest\.shots\[\] is record Scene instead of record Shot", True),
    "the record renamed": (
        lambda schema: schema.update(name="Request"), r"reelbus\.v1\.JobRequest is called reelbus\.v1\.Request", True),
}  # fmt: skip

FINE: dict[str, Change] = {
    "nothing": lambda schema: None,
    "an optional field added": _add(name="colour", type=["null", "string"], default=None, doc="Colour."),
    "a field with a default added": _add(name="weight", type="double", default=1.0, doc="Weight."),
    "a field added to a nested record, and so to a default": lambda schema: (
        _add(name="hdr", type="boolean", default=False)(_record(_field(schema, "output")["type"])),
        _field(schema, "output")["default"].update(hdr=False),
    ),
    "a list of new records added": _add(
        name="tags", default=[], doc="Tags.",
        type={"type": "array", "items": {
            "type": "record", "name": "Tag", "namespace": "reelbus.v1", "doc": "A tag.",
            "fields": [{"name": "text", "type": "string", "doc": "Its text."}]}},
    ),
    "another order of fields": lambda schema: schema["fields"].insert(0, schema["fields"].pop(5)),
    "another doc": _set("job_id", doc="In other words."),
    "a larger maximum": _limit("shots.duration_s", maximum=1200),
    "a smaller minimum": _limit("priority", minimum=-100),
    "a new choice": _limit("lane", values=["express", "standard", "bulk", "night"]),
    "a limit dropped": lambda schema: _field(schema, "shots.prompt")["limits"].pop("maxLength"),
    "a finer step": _limit("output.width_px", multipleOf=1),
}  # fmt: skip


def _changed(change: Change, record: str = "JobRequest") -> Schema:
    schema = _schema(record)
    change(schema)
    return schema


def _apache(old: Schema, new: Schema) -> bool:
    """FULL, as Apache's checker sees it."""
    checker = avro.compatibility.ReaderWriterCompatibilityChecker()
    a, b = (avro.schema.parse(json.dumps(schema)) for schema in (old, new))
    good = avro.compatibility.SchemaCompatibilityType.compatible
    return all(checker.get_compatibility(*pair).compatibility is good for pair in ((a, b), (b, a)))


def test_at_least_ten_of_each_are_seeded() -> None:
    assert len(BREAKING) >= 10
    assert len(FINE) >= 10


@pytest.mark.parametrize("name", BREAKING)
def test_a_breaking_change_is_refused_in_a_sentence(name) -> None:
    change, sentence, avro_too = BREAKING[name]
    for versions in ([_schema(), _changed(change)], [_schema(), _schema(), _changed(change)]):
        faults = schema_gate.check(versions)
        assert any(re.search(sentence, fault) for fault in faults), faults
    assert _apache(_schema(), _changed(change)) is not avro_too


def test_a_schema_that_nobody_can_read_is_a_fault() -> None:
    """The record Media is written out where it first appears; before that its name means nothing."""
    upside_down = _changed(lambda schema: schema["fields"].reverse())
    (fault,) = schema_gate.check([_schema(), upside_down])
    assert fault.startswith("JobRequest is no valid Avro schema")


@pytest.mark.parametrize("name", FINE)
def test_a_compatible_change_passes(name) -> None:
    assert schema_gate.check([_schema(), _changed(FINE[name])]) == []
    assert _apache(_schema(), _changed(FINE[name]))


def test_a_change_is_held_against_every_older_version_not_only_the_last() -> None:
    """1 has a field, 2 drops it, 3 brings it back as another type: 2 and 3 are compatible, 1 and 3 are not."""
    with_note = _changed(_add(name="note", type="string", default="", doc="Note."), "UsageMetered")
    without = _schema("UsageMetered")
    other = _changed(_add(name="note", type="long", default=0, doc="Note."), "UsageMetered")
    assert schema_gate.check([with_note, without]) == schema_gate.check([without, other]) == []
    (fault,) = schema_gate.check([with_note, without, other])
    assert fault.startswith("UsageMetered.note is long instead of string")


def test_what_only_apaches_checker_sees_is_said_as_well() -> None:
    old = {"type": "record", "name": "R", "namespace": "n", "fields": [
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["a"]}}]}  # fmt: skip
    new = copy.deepcopy(old)
    new["fields"][0]["type"]["symbols"].append("b")
    (fault,) = schema_gate.check([old, new])
    assert "R at /fields/0/type/symbols" in fault
    assert "older version cannot read the other" in fault


def test_every_pair_of_committed_versions_can_read_each_other() -> None:
    known = schema_files.committed()
    assert {kind.__name__ for kind in schemas_admin.records()} <= known.keys()
    for versions in known.values():
        assert schema_gate.check([version.schema for version in versions]) == []
