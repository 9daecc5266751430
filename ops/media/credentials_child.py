"""The child that reads the content credentials of one foreign file and writes them as an ingredient.

Started by ops.media.credentials with the file as an open descriptor; answers a line of JSON, then the ingredient. It
does with it what mux will do later: what c2pa cannot bear shows here, in the sandbox, and is not kept.
"""

import io
import json
import os
import sys
from typing import Any, BinaryIO

import c2pa
import msgspec

from ops.bus.process import die_with_parent
from ops.media.credentials import CONTENT_TYPE, PURPOSES, Answer, Order
from ops.media.opening import TINY_PNG, Unreadable, kind_of
from ops.sandbox import lockdown

_TYPES = {"mp4": "video/mp4", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
"""Kinds that can hold credentials and that intake takes."""
_SETTINGS: dict[str, Any] = {
    # Nothing is fetched, and no picture is decoded for a thumbnail. Nobody is trusted, and that is noted: a fault that
    # a reader finds and that is not noted counts against the video.
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True},
    "trust": {"trust_config": "\n".join(PURPOSES)},
    "builder": {"thumbnail": {"enabled": False}},
}
_INPUT = {"label": "picture", "relationship": "inputTo"}
_HEAD_BYTES = 64
_ABSENT = ("ManifestNotFound", "NotSupported", "RemoteManifest")


def look(file: BinaryIO, max_bytes: int) -> tuple[Answer, bytes]:
    """Answer and ingredient for one file."""
    try:
        file.seek(0)
        kind, _ = kind_of(file.read(_HEAD_BYTES))
        content_type = _TYPES.get(kind)
        if content_type is None:
            return Answer(), b""
        made = _ingredient(file, content_type)
        if len(made) > max_bytes:
            return Answer(error=f"are {len(made)} bytes long; at most {max_bytes} are kept"), b""
        if made:
            _builder().add_ingredient_from_stream(json.dumps(_INPUT), CONTENT_TYPE, io.BytesIO(made))
        return Answer(size_bytes=len(made)), made
    except Unreadable:
        return Answer(), b""
    except c2pa.C2paError as exc:
        if type(exc).__name__.endswith(_ABSENT):
            return Answer(), b""
        return Answer(error=f"cannot be read ({str(exc)[:200]})"), b""
    except MemoryError:
        return Answer(error="need too much memory"), b""


def _ingredient(file: BinaryIO, content_type: str) -> bytes:
    file.seek(0)
    builder = _builder()
    builder.add_ingredient_from_stream(json.dumps(_INPUT), content_type, file)
    archive = io.BytesIO()
    builder.write_ingredient_archive(_INPUT["label"], archive)
    with c2pa.Reader(CONTENT_TYPE, io.BytesIO(archive.getvalue()), context=_context()) as reader:
        found = json.loads(reader.json())
    kept = found["manifests"][found["active_manifest"]]["ingredients"][0]
    return archive.getvalue() if kept.get("active_manifest") else b""


def _context() -> c2pa.Context:
    return c2pa.Context(settings=c2pa.Settings.from_dict(_SETTINGS))


def _builder() -> c2pa.Builder:
    return c2pa.Builder("{}", context=_context())


def main() -> None:
    """See the module's docstring."""
    die_with_parent()
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    lockdown.apply(order.limits)
    look(io.BytesIO(TINY_PNG), order.max_bytes)  # libraries load parts of themselves when they are first used
    guards = lockdown.lock("decoding")
    with os.fdopen(order.fd, "rb") as file:
        answer, made = look(file, order.max_bytes)
    answer = msgspec.structs.replace(answer, guards=guards)
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n" + made)
    sys.stdout.buffer.flush()
    os._exit(0)
