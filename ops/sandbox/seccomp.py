"""System call filters (Linux seccomp), without a library: a few BPF instructions made here.

"decoding": only what computing on memory and on files that are open already needs. No path can be opened, no socket,
            process or thread made, nobody signalled.
"fetching": everything but writing to paths, other processes, and the ways around a filter.
What is not allowed fails with EPERM, so that a library can say so; a call of another architecture kills.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from typing import Literal

from ops.sandbox import calls

Profile = Literal["decoding", "fetching"]

_ARCHITECTURES = {"x86_64": (0xC000003E, calls.X86_64, 317), "aarch64": (0xC00000B7, calls.AARCH64, 277)}
"""AUDIT_ARCH_*, calls, number of seccomp(2) itself."""
_DECODING = (
    "read", "pread64", "readv", "write", "writev", "lseek", "fstat", "newfstatat", "close", "dup", "fcntl", "ioctl",
    "mmap", "munmap", "mremap", "mprotect", "madvise", "brk", "futex", "rt_sigaction", "rt_sigprocmask",
    "rt_sigreturn", "sigaltstack", "sched_yield", "sched_getaffinity", "nanosleep", "clock_nanosleep", "clock_gettime",
    "getpid", "gettid", "getrandom", "getrusage", "membarrier", "rseq", "exit", "exit_group",
)  # fmt: skip
_NOT_FETCHING = (
    "fork", "vfork", "execve", "execveat", "kill", "ptrace", "process_vm_readv", "process_vm_writev", "bind", "listen",
    "truncate", "rename", "mkdir", "rmdir", "creat", "link", "unlink", "symlink", "chmod", "fchmod", "chown", "fchown",
    "lchown", "mknod", "mount", "mkdirat", "mknodat", "fchownat", "unlinkat", "renameat", "linkat", "symlinkat",
    "fchmodat", "unshare", "setns", "renameat2", "bpf", "userfaultfd", "pidfd_send_signal", "io_uring_setup",
    "pidfd_getfd",
)  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CLONE_THREAD = 0x00010000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE, _NO_SUCH_CALL, _KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS, 0x80000000
_X32_CALLS = 0x40000000

Instruction = tuple[int, int, int, int]
"""code, jump if true, jump if false, constant."""


def program(profile: Profile, arch: int, numbers: dict[str, int]) -> list[Instruction]:
    """The filter. Struct seccomp_data: call at 0, architecture at 4, low half of argument n at 16 + 8 n."""
    lines: list[Instruction] = [
        (_LOAD, 0, 0, 4), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0), (_AT_LEAST, 0, 1, _X32_CALLS), (_RETURN, 0, 0, _REFUSE),
    ]  # fmt: skip
    if profile == "decoding":
        for name in _DECODING:
            lines += [(_EQUAL, 0, 1, numbers[name]), (_RETURN, 0, 0, _ALLOW)]
        return [*lines, (_RETURN, 0, 0, _REFUSE)]
    for name in _NOT_FETCHING:
        if name in numbers:
            lines += [(_EQUAL, 0, 1, numbers[name]), (_RETURN, 0, 0, _REFUSE)]
    # What cannot be looked into: glibc then takes clone and openat.
    for name in ("clone3", "openat2"):
        lines += [(_EQUAL, 0, 1, numbers[name]), (_RETURN, 0, 0, _NO_SUCH_CALL)]
    lines += [(_EQUAL, 0, 4, numbers["clone"]), (_LOAD, 0, 0, 16), (_ANY_BIT, 1, 0, _CLONE_THREAD)]
    lines += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    for name, argument in (("open", 1), ("openat", 2)):
        if name in numbers:
            lines += [(_EQUAL, 0, 4, numbers[name]), (_LOAD, 0, 0, 16 + 8 * argument), (_ANY_BIT, 0, 1, _WRITING)]
            lines += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    return [*lines, (_RETURN, 0, 0, _ALLOW)]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_char_p))


def install(profile: Profile) -> bool:
    """Put all threads of this process behind the filter, for good. False where the system has none."""
    if sys.platform != "linux" or platform.machine() not in _ARCHITECTURES:
        return False
    arch, numbers, seccomp = _ARCHITECTURES[platform.machine()]
    packed = b"".join(struct.pack("=HBBI", *line) for line in program(profile, arch, numbers))
    filled = _Program(len(packed) // 8, packed)
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, filter_mode, all_threads = 38, 1, 1
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.syscall(seccomp, filter_mode, all_threads, ctypes.byref(filled)) == 0)
