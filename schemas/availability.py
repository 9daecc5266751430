"""What a request can say and this version cannot do yet. Pure.

A field of this table is refused by name ("not available yet"), never ignored. A feature that is built leaves the table.
"""

from collections.abc import Iterator
from functools import cache

import msgspec

from schemas.errors import JobRejected
from schemas.request import JobRequest, Output, Record, Shot, Transition

NOT_YET: dict[type[Record], frozenset[str]] = {
    JobRequest: frozenset(
        ("subtitles", "narration", "music", "lip_sync", "destination", "not_before_ms")
    ),
    Shot: frozenset(
        (
            "model", "style", "guidance", "steps", "reference_images", "source_video", "source_strength",
            "last_keyframe", "controls", "background", "trim",
        )
    ),
    Output: frozenset(("bitrate_kbps", "quality")),
}  # fmt: skip
"""Fields that only their default is accepted for."""
BUILT: dict[tuple[type[Record], str], frozenset[str]] = {
    (Transition, "kind"): frozenset(("crossfade",)),
    (Output, "container"): frozenset(("mp4",)),
    (Output, "codec"): frozenset(("h264",)),
}
"""Choices that are there, of fields whose other values come later."""


def check(request: JobRequest) -> None:
    """Raises JobRejected with code not_available for the first thing that is asked for and not built."""
    for path, record in _records("", request):
        kind = type(record)
        for field in _fields(kind):
            value = getattr(record, field.name)
            if field.name in NOT_YET.get(kind, ()) and value != field.default:
                name = f"{path}{field.name}"
                raise JobRejected("not_available", f"{name}: not available yet; leave it out", name)
            choices = BUILT.get((kind, field.name))
            if choices is not None and value not in choices:
                name = f"{path}{field.name}"
                right = f"available is {', '.join(sorted(choices))}"
                raise JobRejected("not_available", f'{name}: "{value}" is not available yet; {right}', name)


@cache
def _fields(kind: type[Record]) -> tuple[msgspec.structs.FieldInfo, ...]:
    # msgspec reads the annotations anew at every call, which takes a tenth of a millisecond.
    return msgspec.structs.fields(kind)


def _records(path: str, record: Record) -> Iterator[tuple[str, Record]]:
    yield path, record
    for field in _fields(type(record)):
        value = getattr(record, field.name)
        if isinstance(value, Record):
            yield from _records(f"{path}{field.name}.", value)
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, Record):
                    yield from _records(f"{path}{field.name}[{index}].", item)
