"""The compatibility gate: what may change between two versions of a record, as sentences about what may not. Pure.

FULL_TRANSITIVE: every pair of versions, in both directions, because topics hold records of every version and processes
of two versions run side by side. Avro's own rules are judged by Apache's checker (`avro.compatibility`); ours go
beyond them where JSON or meaning is at stake:
- limits are never narrowed: what was accepted and lies in a topic would become a dead letter;
- a default never changes: JSON leaves defaults out, so an old record would come to mean something else;
- a unit never changes under a name;
- a field that callers send is never removed: unknown fields are refused, so their JSON would be.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import avro.compatibility
import avro.errors
import avro.schema

SENT_BY_CALLERS = frozenset({"JobRequest", "JobOrder"})
Schema = Mapping[str, Any]
_MISSING = object()
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


def check(versions: Sequence[Schema]) -> list[str]:
    """Faults between all pairs of versions of one record, oldest version first in `versions`; empty: compatible.

    Each names record, field, what is wrong and what would be right. A fault that several pairs show is named once.
    """
    return list(dict.fromkeys(fault for old, new in combinations(versions, 2) for fault in between(old, new)))


def between(old: Schema, new: Schema) -> list[str]:
    """Faults between two versions of one record."""
    if old["name"] != new["name"] or old.get("namespace") != new.get("namespace"):
        names = [f"{schema.get('namespace', '')}.{schema['name']}" for schema in (old, new)]
        return [f"{names[0]} is called {names[1]}: a record keeps its name; a new record gets a topic of its own"]
    found = list(_Pair(old, new).faults())
    return found or list(_avro_faults(old, new))


class _Pair:
    """Two versions of one record, walked together. Named types may stand written out, or by their name."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self.record = str(new["name"])
        self.old, self.new = old, new
        self.known: tuple[dict[str, Schema], dict[str, Schema]] = ({}, {})
        _collect(old, self.known[0])
        _collect(new, self.known[1])
        self.done: set[str] = set()

    def faults(self) -> Iterator[str]:
        yield from self._records(self.record, self.old, self.new)

    def _records(self, path: str, old: Schema, new: Schema) -> Iterator[str]:
        if new["name"] in self.done:
            return
        self.done.add(new["name"])
        before, after = ({field["name"]: field for field in schema["fields"]} for schema in (old, new))
        yield from self._removed(path, before, after)
        for name, field in after.items():
            if name in before:
                yield from self._fields(f"{path}.{name}", before[name], field)
            elif "default" not in field:
                yield (
                    f"{path}.{name} is new and has no default: older records do not have it; "
                    "give it a default that means what its absence meant"
                )

    def _removed(self, path: str, before: Mapping[str, Schema], after: Mapping[str, Schema]) -> Iterator[str]:
        for name, field in before.items():
            if name in after:
                continue
            if "default" not in field:
                yield (
                    f"{path}.{name} is gone and had no default: older readers need it; keep it, "
                    "and say in its doc that it has no effect any more"
                )
            elif self.record in SENT_BY_CALLERS:
                yield (
                    f"{path}.{name} is gone: JSON requests that have it would be refused; keep it, "
                    "and say in its doc that it has no effect any more"
                )

    def _fields(self, path: str, old: Schema, new: Schema) -> Iterator[str]:
        if types := list(self._types(path, old["type"], new["type"])):
            yield from types
            return
        before, after = old.get("default", _MISSING), new.get("default", _MISSING)
        if before is not _MISSING and after is _MISSING:
            yield f"{path} has lost its default {_shown(before)}: records without it exist; give it back"
        elif before is not _MISSING and self._grown(before, after) != self._grown(after, before):
            yield (
                f"{path} has the default {_shown(after)} instead of {_shown(before)}: records that leave it out would "
                "come to mean something else; keep the old default"
            )
        if old.get("unit") != new.get("unit"):
            yield (
                f"{path} is in {new.get('unit') or 'no unit'} instead of {old.get('unit') or 'no unit'}: "
                "add a field whose name has the new unit"
            )
        yield from narrowed(path, old.get("limits", {}), new.get("limits", {}))

    def _grown(self, value: Any, other: Any) -> Any:
        """A default without the entries that only one of the two versions has: a record's default grows with it."""
        if isinstance(value, dict) and isinstance(other, dict):
            return {key: self._grown(value[key], other[key]) for key in value.keys() & other.keys()}
        return value

    def _types(self, path: str, old: Any, new: Any) -> Iterator[str]:
        old, new = self._written_out(old, 0), self._written_out(new, 1)
        if _kind(old) != _kind(new):
            yield (
                f"{path} is {_kind(new)} instead of {_kind(old)}: older and newer readers could not read each other; "
                "add a field with another name, and keep this one"
            )
        elif isinstance(old, list):
            yield from self._types(path, *(next(part for part in side if part != "null") for side in (old, new)))
        elif isinstance(old, dict):
            match old["type"]:
                case "record":
                    yield from self._records(path, old, new)
                case "array":
                    yield from self._types(f"{path}[]", old["items"], new["items"])
                case "map":
                    yield from self._types(f"{path}{{}}", old["values"], new["values"])

    def _written_out(self, kind: Any, side: int) -> Any:
        return self.known[side].get(kind, kind) if isinstance(kind, str) else kind


def _kind(kind: Any) -> str:
    """A type in words, as far as it must stay the same."""
    if isinstance(kind, list):
        return "null or " + " or ".join(_kind(part) for part in kind if part != "null")
    if isinstance(kind, str):
        return kind
    return f"record {kind['name']}" if kind["type"] == "record" else str(kind["type"])


def _collect(kind: Any, known: dict[str, Schema]) -> None:
    """Named records of a schema by full name. Nested ones have the namespace of the outermost (avro_types)."""
    if isinstance(kind, list):
        for part in kind:
            _collect(part, known)
    elif isinstance(kind, dict):
        if kind["type"] == "record":
            known[f"{kind['namespace']}.{kind['name']}"] = kind
            for field in kind["fields"]:
                _collect(field["type"], known)
        for inner in ("items", "values"):
            if inner in kind:
                _collect(kind[inner], known)


def narrowed(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Sentences about limits (JSON Schema's words) that exclude what was allowed."""
    for word in sorted(new.keys() - {"items", "values"}):
        before, after = old.get(word, _MISSING), new[word]
        if before is _MISSING or _tighter(word, before, after):
            was = "there was no such limit" if before is _MISSING else f"it was {_shown(before)}"
            yield f"{path} has {word} {_shown(after)}, and {was}: what was accepted stays accepted; do not narrow it"
    if "values" in new:
        missing = [value for value in old.get("values", ()) if value not in new["values"]]
        if missing:
            yield f"{path} no longer allows {', '.join(map(_shown, missing))}: keep old values, records have them"
        if "values" not in old:
            yield f"{path} allows only {_shown(new['values'])}, and allowed all: what was accepted stays accepted"
    if "items" in new:
        yield from narrowed(f"{path}[]", old.get("items", {}), new["items"])


def _tighter(word: str, before: Any, after: Any) -> bool:
    if word in _UPPER:
        return bool(after < before)
    if word in _LOWER:
        return bool(after > before)
    if word == "multipleOf":
        return bool(before % after != 0)
    return bool(before != after)  # patterns: whether one allows all that another does cannot be told


def _shown(value: Any) -> str:
    return "none" if value is _MISSING else json.dumps(value, ensure_ascii=False)


def _avro_faults(old: Schema, new: Schema) -> Iterator[str]:
    """What Apache's checker says that the walk above did not see: the last word is Avro's."""
    checker = avro.compatibility.ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    try:
        parsed = [avro.schema.make_avsc_object(dict(schema), validate_names=False) for schema in (old, new)]
    except avro.errors.AvroException as exc:
        yield f"{new['name']} is no valid Avro schema: {exc}"
        return
    for reader, writer, who in ((parsed[1], parsed[0], "newer"), (parsed[0], parsed[1], "older")):
        verdict = checker.get_compatibility(reader, writer)
        if verdict.compatibility is not avro.compatibility.SchemaCompatibilityType.compatible:
            places = ", ".join(sorted(verdict.locations)) or "/"
            why = "; ".join(sorted(verdict.messages)) or "incompatible"
            yield f"{new['name']} at {places}: a reader of the {who} version cannot read the other: {why}"
