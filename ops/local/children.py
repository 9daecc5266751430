"""Child processes that leave nothing behind: own process group, end with the parent, output in a log file."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

LIFELINE = Path(__file__).with_name("lifeline.py")
LOG_BYTES = 5 * 1024 * 1024


def spawn(command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, so that Ctrl-C in the terminal reaches us and not it.

    On Linux the child gets SIGKILL when the *thread* that called this ends, even by SIGKILL: call it from a thread
    that lives as long as the child should. Output is appended to `log`; an old log of 5 MiB or more becomes `log`.1.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    rotate(log)
    wrapped = [sys.executable, "-I", "-S", str(LIFELINE), str(os.getpid()), *command]
    with log.open("ab") as output:
        return subprocess.Popen(
            wrapped,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=None if env is None else dict(env),
        )


def rotate(log: Path, most_bytes: int = LOG_BYTES) -> None:
    """Move a log that has grown too long aside; one old log is kept."""
    if log.exists() and log.stat().st_size >= most_bytes:
        log.replace(log.with_name(log.name + ".1"))


def tail(log: Path, lines: int = 15, after_bytes: int = 0) -> str:
    """The last lines of a log, of what was written after a position."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(after_bytes, end - 16_384))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def command_line(pid: int) -> str:
    """The command line of any process; empty when it has ended (a zombie has none either)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return ""
    shown = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip()


def kill_group(pid: int) -> None:
    """SIGKILL what is left of the process group that `spawn` made. It may be empty already."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def end(process: subprocess.Popen[bytes], timeout_s: float) -> int:
    """SIGTERM, wait, SIGKILL the whole group. Returns the exit status as subprocess does (-9: killed by signal 9)."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout_s)
    kill_group(process.pid)
    return process.wait()
