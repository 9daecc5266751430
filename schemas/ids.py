"""Deterministic ids. Pure: the same input gives the same id in every process, so redelivery changes nothing."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

# \Z, not $: the latter lets a final newline through.
JOB_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\Z"
TENANT_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}\Z"


def _sha256(*parts: str) -> str:
    """Hex SHA-256 over length-prefixed parts, so that ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces; `value` is a Struct or plain data. The input of every content hash.

    A field that equals its default is left out, so that a record means the same however it was written (JSON or Avro,
    default spelled out or not) and a field that a later version adds changes no hash.
    """
    plain = _meaning(value)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _meaning(value: Any) -> Any:
    # msgspec's own omit_defaults compares by identity: a default that was decoded is not the object of the class.
    if isinstance(value, msgspec.Struct):
        pairs = ((encoded, default, getattr(value, name)) for name, encoded, default in _fields(type(value)))
        return {encoded: _meaning(given) for encoded, default, given in pairs if given != default}
    if isinstance(value, Mapping):
        return {name: _meaning(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_meaning(item) for item in value]
    return msgspec.to_builtins(value)


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[tuple[str, str, Any], ...]:
    """Name, name on the wire and default of every field: msgspec works them out anew at every call."""
    return tuple(
        (f.name, f.encode_name, f.default if f.default_factory is msgspec.NODEFAULT else f.default_factory())
        for f in msgspec.structs.fields(kind)
    )


def job_key(tenant: str, job_id: str) -> str:
    """Key of a job on every internal topic. Unambiguous because a tenant contains no slash."""
    return f"{tenant}/{job_id}"


def switch_key(kind: str, name: str) -> str:
    """Record key of an operator's switch: lane:bulk, tenant:acme, pool:cuda, worker:w1."""
    return f"{kind}:{name}"


def job_uid(key: str) -> str:
    """32 hex characters made by us from a job key: the only form of a job id that enters object keys."""
    return _sha256("job", key)[:32]


def fingerprint(value: Any) -> str:
    """Hex SHA-256 of a request's meaning; two deliveries of one request have the same."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def chunk_id(spec: Any) -> str:
    """Hex SHA-256 of a chunk spec: the chunk's name (principle 1)."""
    return hashlib.sha256(canonical_json(spec)).hexdigest()


def is_chunk_id(text: str) -> bool:
    """Whether `chunk_id` can have made this: only then it may become part of an object key."""
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def seed_of(*parts: str) -> int:
    """A seed in 0 .. 2**31-1 derived from `parts`."""
    return int(_sha256("seed", *parts)[:8], 16) & 0x7FFFFFFF


def event_id(*parts: str) -> str:
    """32 hex characters naming one fact; a redelivered fact gets the same id."""
    return _sha256("event", *parts)[:32]


def mark_of(*parts: str) -> int:
    """A short name of a fact, 0 .. 2**48-1, for sets of a few thousand that must fit into a record."""
    return int(_sha256("mark", *parts)[:12], 16)


def chunk_object_key(tenant: str, chunk: str) -> str:
    """Object key of a rendered chunk. Tenants never share a chunk: the tenant is part of the spec and of the key."""
    return f"chunks/{_sha256('tenant', tenant)[:16]}/{chunk}.mkv"


def input_id(file_sha256: str, **how: object) -> str:
    """Hex SHA-256 that names the frames made from a caller's file: of its bytes' hash and of how they were made."""
    return _sha256("input", file_sha256, canonical_json(how).decode())


def input_object_key(tenant: str, name: str) -> str:
    """Object key of frames made from a caller's file. Its parts are hashes that we made, like those of a chunk."""
    return f"inputs/{_sha256('tenant', tenant)[:16]}/{name}.mkv"


def credentials_object_key(tenant: str, name: str) -> str:
    """Object key of the content credentials of a caller's file, beside the frames of that name."""
    return input_object_key(tenant, name).removesuffix(".mkv") + ".c2pa"


def video_object_key(key: str, name: str) -> str:
    """Object key of a published file of a job, e.g. name="video.mp4"."""
    return f"videos/{job_uid(key)}/{name}"
