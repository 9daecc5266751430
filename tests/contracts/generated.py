"""Any record that its type allows, for property tests: a hypothesis strategy made from a typed struct."""

from typing import Any

import hypothesis.strategies as st
import msgspec
from msgspec import inspect

LONG = (-(2**63), 2**63 - 1)
MOST_ITEMS, MOST_CHARACTERS = 3, 40
_text = st.characters(codec="utf-8")


def records(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Records of a struct; texts and lists stay short, so that no record grows over 64 KiB."""
    return _struct(inspect.type_info(kind))


def _struct(kind: Any) -> st.SearchStrategy[Any]:
    return st.builds(kind.cls, **{field.name: of(field.type) for field in kind.fields})


def of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of one type as msgspec.inspect describes it."""
    match kind:
        case inspect.UnionType():
            return st.one_of(*map(of, kind.types))
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.LiteralType():
            return st.sampled_from(kind.values)
        case inspect.IntType():
            return _ints(kind)
        case inspect.FloatType():
            return _floats(kind)
        case inspect.StrType():
            return _strings(kind)
        case inspect.VarTupleType():
            least, most = _sizes(kind, MOST_ITEMS)
            return st.lists(of(kind.item_type), min_size=least, max_size=most).map(tuple)
        case inspect.DictType():
            least, most = _sizes(kind, MOST_ITEMS)
            return st.dictionaries(of(kind.key_type), of(kind.value_type), min_size=least, max_size=most)
        case inspect.StructType():
            return _struct(kind)
    raise TypeError(f"no strategy for {kind}")


def _sizes(kind: Any, most: int) -> tuple[int, int]:
    least = kind.min_length or 0
    return least, min(least + most, most if kind.max_length is None else kind.max_length)


def _ints(kind: Any) -> st.SearchStrategy[int]:
    low = LONG[0] if kind.ge is None else kind.ge
    high = LONG[1] if kind.le is None else kind.le
    step = kind.multiple_of or 1
    return st.integers(-(-low // step), high // step).map(lambda n: n * step)


def _floats(kind: Any) -> st.SearchStrategy[float]:
    low, high = kind.ge if kind.gt is None else kind.gt, kind.le if kind.lt is None else kind.lt
    return st.floats(
        low, high, exclude_min=kind.gt is not None, exclude_max=kind.lt is not None,
        allow_nan=False, allow_infinity=False,
    )  # fmt: skip


def _strings(kind: Any) -> st.SearchStrategy[str]:
    least, most = _sizes(kind, MOST_CHARACTERS)
    if kind.pattern is None:
        return st.text(_text, min_size=least, max_size=most)
    if kind.pattern.endswith(r"\Z"):
        return st.from_regex(kind.pattern, fullmatch=True, alphabet=_text)
    rest = st.text(_text, min_size=least, max_size=MOST_CHARACTERS)
    return st.builds(str.__add__, st.from_regex(kind.pattern, fullmatch=True, alphabet=_text), rest)
