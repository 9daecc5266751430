"""Starts a child for foreign bytes and reads its answer; the parent side of the sandbox.

The child gets its order as JSON on its standard input, answers on its standard output and is killed when it takes too
long or says too much. It has no environment of ours, no files but those that are handed over, and ends with us.
"""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ops.sandbox.lockdown import Limits

ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}
"""All that a child finds in its environment."""
_BLOCK_BYTES = 1 << 16


class ChildFailed(Exception):
    """No answer from the child; the message is a sentence about why."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a child said, and the processor time that it took."""

    output: bytes
    cpu_s: float


def ask(
    module: str,
    order: msgspec.Struct,
    limits: Limits,
    *,
    hand_over: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> Answered:
    """Run `module.main()` of ours in a child.

    hand_over:   file descriptors that the child finds under the same numbers
    environment: added to ENVIRONMENT
    Raises ChildFailed when it crashes, is killed by a limit, takes longer than wall_s or says more than output_bytes.
    """
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module} as m; m.main()"
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={**ENVIRONMENT, **(environment or {})},
        pass_fds=tuple(hand_over),
        start_new_session=True,
    )
    ends_s = time.monotonic() + limits.wall_s
    try:
        output = _talk(process, msgspec.json.encode(order), limits, ends_s)
        status, cpu_s = _ended(process, ends_s, limits)
    except BaseException:
        _kill(process)
        raise
    if status != 0:
        raise ChildFailed(_cause(status))
    return Answered(output, cpu_s)


def _talk(process: "subprocess.Popen[bytes]", order: bytes, limits: Limits, ends_s: float) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(order)
        process.stdin.close()
    except BrokenPipeError:
        pass  # it died at once; its status says why
    answer = bytearray()
    with selectors.DefaultSelector() as ready, process.stdout as stream:
        ready.register(stream, selectors.EVENT_READ)
        while True:
            if (left_s := ends_s - time.monotonic()) <= 0 or not ready.select(left_s):
                raise ChildFailed(f"gave no answer within {limits.wall_s:g} s")
            part = os.read(stream.fileno(), _BLOCK_BYTES)
            if not part:
                return bytes(answer)
            answer += part
            if len(answer) > limits.output_bytes:
                raise ChildFailed(f"answered with more than {limits.output_bytes} bytes")


def _ended(process: "subprocess.Popen[bytes]", ends_s: float, limits: Limits) -> tuple[int, float]:
    """Exit status (negative: signal) and processor seconds."""
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_utime + usage.ru_stime
        if time.monotonic() > ends_s:
            raise ChildFailed(f"did not end within {limits.wall_s:g} s")
        time.sleep(0.002)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.returncode is None:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _cause(status: int) -> str:
    if -status in (signal.SIGXCPU, signal.SIGKILL):
        return "took too much processor time or memory"
    if status < 0:
        return f"crashed ({signal.Signals(-status).name})"
    return f"gave up (exit status {status})"
