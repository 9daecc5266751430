"""Which lines of the cores are reached. Python's own tracing, no package; it costs about a factor of three."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import gpu_consumers.render.core
import stream_processors.dispatch.core
import stream_processors.inspect.core
import stream_processors.mux.core
import stream_processors.track.core
import stream_processors.track.telling

MODULES = (
    stream_processors.dispatch.core,
    stream_processors.track.core,
    stream_processors.track.telling,
    gpu_consumers.render.core,
    stream_processors.mux.core,
    stream_processors.inspect.core,
)


def _code(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _code(constant)


def _inside_functions(path: str) -> set[int]:
    whole = compile(Path(path).read_text(), path, "exec")
    bodies = [c for c in _code(whole) if c.co_flags & 0x2]  # CO_NEWLOCALS: functions, not class bodies
    return {line for body in bodies for _, _, line in body.co_lines() if line and line > body.co_firstlineno}


class Lines:
    """As a context: counts the lines inside functions of MODULES that run."""

    def __init__(self) -> None:
        self._seen: dict[str, set[int]] = {str(module.__file__): set() for module in MODULES}

    def __enter__(self) -> "Lines":
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _call(self, frame: FrameType, _event: str, _arg: object) -> Any:
        seen = self._seen.get(frame.f_code.co_filename)
        if seen is None:
            return None

        def line(frame: FrameType, event: str, _arg: object) -> Any:
            if event == "line":
                seen.add(frame.f_lineno)
            return line

        return line

    def reached(self) -> dict[str, dict[str, Any]]:
        """By file: percent, and the lines that were not reached."""
        out: dict[str, dict[str, Any]] = {}
        for path, seen in self._seen.items():
            wanted = _inside_functions(path)
            name = "/".join(Path(path).parts[-3:])
            out[name] = {"percent": round(100 * len(seen & wanted) / len(wanted), 1), "missed": sorted(wanted - seen)}
        return out
