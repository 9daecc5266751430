"""What the C2PA manifest of a foreign file says, and whether it holds. For the child process of `reelbus verify` only.

Nothing is fetched: no remote manifest, no revocation list. Every text comes from the file, so it is cut and freed of
control characters before anybody prints it.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import c2pa
import msgspec

from ops.media.credentials import PURPOSES
from ops.verification import Credentials

_SETTINGS: dict[str, Any] = {"verify": {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False}}
_ABOUT_WHO_SIGNED = ("signingCredential.", "timeStamp.")
"""Failures with these codes say that the signer is not good, not that the file was changed."""
_DEVELOPMENT = "reelbus development"
_TRACES = (bytes.fromhex("d8fec3d61b0e483c92975828877ec481"), bytes.fromhex("6332706100110010800000aa00389b71"))
"""Box types of a manifest in MP4, and of a manifest store anywhere."""
_BLOCK_BYTES = 1 << 20
_TEXT_CHARS, _TEXTS = 200, 16
_NO_THREADS = "Operation not permitted"
"""c2pa reads files of more than 256 MiB that were signed in one piece with threads, which the sandbox has none of."""
_STATES = {"Trusted": "trusted", "Valid": "valid"}

Json = Any


def credentials(file: BinaryIO, trust: str, development: str) -> Credentials:
    """The verdict. trust: PEM certificates of those who are trusted; development: those of this machine's own key."""
    try:
        found = _read(file, trust)
        said = _said(found)
        if said.state == "valid" and development and said.signer.startswith(_DEVELOPMENT):
            again = _said(_read(file, development))
            if again.state == "trusted":
                return msgspec.structs.replace(again, development=True)
        return said
    except c2pa.C2paError as exc:
        kind = type(exc).__name__
        if kind.endswith(("ManifestNotFound", "NotSupported")) or not _has_traces(file):
            return Credentials(state="absent")
        return Credentials(state="tampered", problems=(f"cannot be read: {_text(str(exc))}",))


def _read(file: BinaryIO, anchors: str) -> Json:
    trust = {"trust_config": "\n".join(PURPOSES), **({"trust_anchors": anchors} if anchors else {})}
    context = c2pa.Context(settings=c2pa.Settings.from_dict({**_SETTINGS, "trust": trust}))
    file.seek(0)
    with c2pa.Reader(None, file, context=context) as reader:
        return json.loads(reader.json())


def _said(found: Json) -> Credentials:
    failures = [each for each in found.get("validation_status", ()) if isinstance(each, dict)]
    state = _STATES.get(found.get("validation_state"), "")
    codes = sorted({str(each.get("code")) for each in failures} - {"signingCredential.untrusted"})
    problems = tuple(_text(code) for code in codes[:_TEXTS])
    if not state and any(_NO_THREADS in str(each.get("explanation")) for each in failures):
        state, problems = "unreadable", ("is signed in one piece and larger than 256 MiB: too large for the sandbox",)
    elif not state:
        state = "invalid" if all(code.startswith(_ABOUT_WHO_SIGNED) for code in codes) else "tampered"
    manifest = _at(found, "manifests", found.get("active_manifest")) or {}
    passed = _list(_at(found, "validation_results", "activeManifest", "success"))
    timed = any(_at(each, "code") == "timeStamp.trusted" for each in passed)
    return msgspec.structs.replace(_claims(manifest, found), state=state, problems=problems, signed_at_trusted=timed)


def _claims(manifest: Json, found: Json) -> Credentials:
    """What the signer claims; true as far as the signer is."""
    data = {str(label): content for label, content in _assertions(manifest)}
    created: Json = next(iter(_list(_at(data, "c2pa.actions.v2", "actions"))), {})
    made = data.get("io.reelbus.generation", {})
    generator: Json = next(iter(_list(_at(manifest, "claim_generator_info"))), {})
    blocks = _list(_at(data, "c2pa.soft-binding", "blocks"))
    return Credentials(
        state="absent",
        signer=_text(_at(manifest, "signature_info", "common_name")),
        issuer=_text(_at(manifest, "signature_info", "issuer")),
        signed_at=_text(_at(manifest, "signature_info", "time")),
        made_with=f"{_text(_at(generator, 'name'))} {_text(_at(generator, 'version'))}".strip(),
        made_at=_text(_at(created, "when")),
        source_type=_text(_at(created, "digitalSourceType")).rpartition("/")[2],
        model=_text(_at(made, "model")),
        model_revision=_text(_at(made, "model_revision")),
        job_uid=_text(_at(made, "job_uid")),
        mark_payload=_text(_at(blocks[0], "value")) if blocks else "",
        ingredients=tuple(_input(found, each) for each in _list(_at(manifest, "ingredients"))[:_TEXTS]),
        prompts=_texts(_list(_at(made, "prompts"))),
    )


def _input(found: Json, ingredient: Json) -> str:
    """What went in, whose credentials it had, and whether they held when it went in."""
    title, name = _text(_at(ingredient, "title")), _text(_at(ingredient, "active_manifest"))
    if not name:
        return title
    signer = _text(_at(found, "manifests", name, "signature_info", "common_name")) or "somebody"
    failures = _list(_at(ingredient, "validation_results", "activeManifest", "failure"))
    held = all(_at(each, "code") == "signingCredential.untrusted" for each in failures)
    return f"{title}, with credentials of {signer}" + ("" if held else ", which did not hold")


def _assertions(manifest: Json) -> Iterator[tuple[Json, Json]]:
    for each in _list(_at(manifest, "assertions")):
        yield _at(each, "label"), _at(each, "data")


def _at(value: Json, *path: Json) -> Json:
    """The value at a path of keys; None where there is none, whatever the file holds instead."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _text(value: Json) -> str:
    if not isinstance(value, str):
        return ""
    return "".join(char if char.isprintable() else "?" for char in value[:_TEXT_CHARS])


def _texts(values: Iterator[Json] | Sequence[Json]) -> tuple[str, ...]:
    return tuple(_text(value) for value in list(values)[:_TEXTS])


def _has_traces(file: BinaryIO) -> bool:
    """True if a manifest lies somewhere in the file, though c2pa cannot find its way to it."""
    file.seek(0)
    tail = b""
    while block := file.read(_BLOCK_BYTES):
        if any(trace in tail + block for trace in _TRACES):
            return True
        tail = block[-16:]
    return False
