"""The part of the request that is built, as a type of its own. Pure; made from `schemas.availability`.

One strict decoding by this type says what decoding and `availability.check` say together, without walking the request
in Python. What it refuses may still be right (a field that is not built yet, spelled out with its default), so a
refusal is answered by the long way.
"""

import types
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from schemas.availability import BUILT, NOT_YET
from schemas.request import JobRequest, Record


@cache
def served_request(without: frozenset[str] = frozenset()) -> type[msgspec.Struct]:
    """JobRequest without what is not available yet. Its defaults mean nothing but "left out".

    without: fields of the request that somebody else vouches for, and that may not be there
    """
    return _struct(JobRequest, without)


@cache
def _struct(kind: type[Record], without: frozenset[str] = frozenset()) -> type[msgspec.Struct]:
    hints = get_type_hints(kind, include_extras=True)
    members: list[Any] = []
    for field in msgspec.structs.fields(kind):
        if field.name in without or field.name in NOT_YET.get(kind, ()):
            continue
        choices = BUILT.get((kind, field.name))
        wanted = Literal[tuple(sorted(choices))] if choices else _type(hints[field.name])
        plain = field.default is None or isinstance(field.default, str | int | float)
        member: tuple[Any, ...] = (field.name, wanted)
        members.append(member if field.required else (*member, field.default if plain else None))
    # gc=False: these objects are looked at and dropped, thousands at a time, and hold no cycles.
    return msgspec.defstruct(
        f"Served{kind.__name__}", members, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False
    )


def _type(hint: Any) -> Any:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Annotated[(_type(parts[0]), *parts[1:])]
    if origin is tuple:
        return origin[tuple(_type(part) for part in parts)]
    if origin in (Union, types.UnionType):
        return reduce(or_, map(_type, parts))
    if isinstance(hint, type) and issubclass(hint, Record):
        return _struct(hint)
    return hint
