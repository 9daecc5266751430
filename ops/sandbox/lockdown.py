"""What a child does to itself before it looks at foreign bytes. None of it can be undone.

What holds where: the limits on memory, processor time, file size and open files on every Unix; the empty network
namespace where the kernel lets users make one (many containers do not); the filter of system calls on Linux on x86_64
and aarch64. `lock` says what it could do, and who starts the child decides what is enough.
"""

import ctypes
import gc
import os
import re
import resource
import sys
from collections.abc import Callable
from typing import Literal

import msgspec

from ops.sandbox import seccomp

Guard = Literal["limits", "no-network-namespace", "system-calls"]
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000


class Limits(msgspec.Struct, frozen=True):
    """What one child may use."""

    memory_bytes: int
    """Private memory (RLIMIT_DATA); more is a MemoryError."""
    cpu_s: int
    """Processor time of the whole process; more is a kill."""
    wall_s: float
    """Time until its answer; kept by the parent."""
    output_bytes: int
    """Longest answer; kept by the parent."""
    file_bytes: int = 0
    """Longest file that it may write."""
    open_files: int = 32
    """Open files at a time."""


def apply(limits: Limits) -> None:
    """Set the limits that the system keeps."""
    memory = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    for kind, most in (
        (memory, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


def lock(profile: seccomp.Profile) -> tuple[Guard, ...]:
    """No network ("decoding" only), no other calls than the profile's. Returns the guards that hold; call `apply`
    before, and import everything before: afterwards no file can be opened by who decodes."""
    os.chdir("/")
    held: list[Guard] = ["limits"]
    if profile == "decoding":
        gc.collect()
        if _leave_network():
            held.append("no-network-namespace")
    if seccomp.install(profile):
        held.append("system-calls")
    return tuple(held)


def _leave_network() -> bool:
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.unshare(_NEW_USER | _NEW_NETWORK) == 0)


def memory_meter() -> Callable[[], int]:
    """A function that says the most memory (bytes, resident) that this process had; 0 where the system does not say.

    Made before `lock`, used after it. getrusage would count what the parent had when it started us.
    """
    try:
        status = os.open("/proc/self/status", os.O_RDONLY)
    except OSError:
        return lambda: 0

    def peak_bytes() -> int:
        found = re.search(rb"VmHWM:\s*(\d+) kB", os.pread(status, 8192, 0))
        return int(found[1]) * 1024 if found else 0

    return peak_bytes
