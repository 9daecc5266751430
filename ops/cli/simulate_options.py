"""Reads the texts of `reelbus simulate`'s options. Every error names the option, the value and what would be right."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TypeVar

from ops.simulate.hardware import Costs
from schemas.errors import InvalidMessage
from schemas.request import LANES, Lane

MOST_GPUS = 1_000
Value = TypeVar("Value")


def _wrong(option: str, text: str, right: str) -> NoReturn:
    raise InvalidMessage(f"{option}: {text!r} is not {right}")


def gpus(text: str) -> list[int]:
    """`4`, `1,2,4` or `1-8`: numbers of devices, each once, the smallest first."""
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= MOST_GPUS:
            _wrong("--gpus", part, f"a number from 1 to {MOST_GPUS}, or a range such as 1-8")
        found |= set(range(first, last + 1))
    return sorted(found)


def number(option: str, text: str, least: float, most: float = math.inf) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        _wrong(option, text, f"a number from {least:g}" + (f" to {most:g}" if most < math.inf else " up"))
    return value


def by_lane(option: str, texts: Sequence[str], least: float, most: float = math.inf) -> dict[Lane, float]:
    """`X` for every lane, `LANE=X` for one, which wins."""
    found: dict[Lane, float] = {}
    for text in sorted(texts, key=lambda t: "=" in t):
        name, given, value = text.rpartition("=")
        lanes = LANES if not given else tuple(lane for lane in LANES if lane == name)
        if not lanes:
            _wrong(option, text, f"X, or LANE=X with one of {', '.join(LANES)}")
        found |= dict.fromkeys(lanes, number(option, value, least, most))
    return found


def shares(text: str) -> dict[Lane, float]:
    """`express=0.2,bulk=0.8`."""
    parts = [part.strip() for part in text.split(",")]
    if not all("=" in part for part in parts):
        _wrong("--lanes", text, "LANE=SHARE,..., e.g. express=0.2,standard=0.3,bulk=0.5")
    return by_lane("--lanes", parts, 0.0)


def costs(texts: Sequence[str], models: Mapping[str, object], load_s: float | None) -> Costs:
    """`MODEL=S`, or `MODEL@WxH=S` for one of its native sizes."""
    by_model: dict[str, float] = {}
    by_size: dict[tuple[str, int, int], float] = {}
    for text in texts:
        match = re.fullmatch(r"([^@=]+)(?:@(\d+)x(\d+))?=(.+)", text)
        if not match or match[1] not in models:
            _wrong("--cost", text, f"MODEL=S or MODEL@WxH=S, with one of the models {', '.join(models)}")
        cost_s = number("--cost", match[4], 0.001, 86_400.0)
        if match[2]:
            by_size[match[1], int(match[2]), int(match[3])] = cost_s
        else:
            by_model[match[1]] = cost_s
    return Costs(by_size, by_model, load_s)


def slow(texts: Sequence[str]) -> dict[int, float]:
    """`N=FACTOR`: worker N takes so many times longer."""
    return _by_worker("--slow", texts, "N=FACTOR, e.g. 0=2.5", lambda text: number("--slow", text, 0.1, 1000.0))


def deaths(texts: Sequence[str]) -> dict[int, tuple[float, float]]:
    """`N=AT_S` or `N=AT_S:AWAY_S`: when worker N dies, and after how long it is back."""

    def read(text: str) -> tuple[float, float]:
        at, _, away = text.partition(":")
        return number("--death", at, 0.0, 1e9), number("--death", away, 0.0, 1e9) if away else math.inf

    return _by_worker("--death", texts, "N=AT_S or N=AT_S:AWAY_S, e.g. 0=60:300", read)


def _by_worker(option: str, texts: Sequence[str], right: str, read: Callable[[str], Value]) -> dict[int, Value]:
    found: dict[int, Value] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name.isdecimal() or not value:
            _wrong(option, text, right)
        found[int(name)] = read(value)
    return found
