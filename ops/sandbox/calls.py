"""Numbers of the system calls that the filters name (Linux: asm/unistd_64.h, asm-generic/unistd.h)."""

X86_64 = {
    "read": 0, "write": 1, "open": 2, "close": 3, "fstat": 5, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11,
    "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16, "pread64": 17, "readv": 19,
    "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28, "dup": 32, "nanosleep": 35, "getpid": 39,
    "bind": 49, "listen": 50, "clone": 56, "fork": 57, "vfork": 58, "execve": 59, "exit": 60, "kill": 62, "fcntl": 72,
    "truncate": 76, "ftruncate": 77, "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87,
    "symlink": 88, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93, "lchown": 94, "getrusage": 98, "ptrace": 101,
    "sigaltstack": 131, "mknod": 133, "mount": 165, "gettid": 186, "futex": 202, "sched_getaffinity": 204,
    "clock_gettime": 228, "clock_nanosleep": 230, "exit_group": 231, "mkdirat": 258, "openat": 257, "mknodat": 259,
    "fchownat": 260, "newfstatat": 262, "unlinkat": 263, "renameat": 264, "linkat": 265, "symlinkat": 266,
    "fchmodat": 268, "unshare": 272, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "renameat2": 316,
    "getrandom": 318, "bpf": 321, "execveat": 322, "userfaultfd": 323, "membarrier": 324, "rseq": 334,
    "pidfd_send_signal": 424, "io_uring_setup": 425, "clone3": 435, "openat2": 437, "pidfd_getfd": 438,
}  # fmt: skip
AARCH64 = {
    "dup": 23, "fcntl": 25, "ioctl": 29, "mknodat": 33, "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37,
    "renameat": 38, "mount": 40, "truncate": 45, "ftruncate": 46, "fchmod": 52, "fchmodat": 53, "fchownat": 54,
    "fchown": 55, "openat": 56, "close": 57, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66,
    "pread64": 67, "newfstatat": 79, "fstat": 80, "exit": 93, "exit_group": 94, "unshare": 97, "futex": 98,
    "nanosleep": 101, "clock_gettime": 113, "clock_nanosleep": 115, "ptrace": 117, "sched_getaffinity": 123,
    "sched_yield": 124, "kill": 129, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135,
    "rt_sigreturn": 139, "getrusage": 165, "getpid": 172, "gettid": 178, "bind": 200, "listen": 201, "brk": 214,
    "munmap": 215, "mremap": 216, "clone": 220, "execve": 221, "mmap": 222, "mprotect": 226, "madvise": 233,
    "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271, "renameat2": 276, "getrandom": 278, "bpf": 280,
    "execveat": 281, "userfaultfd": 282, "membarrier": 283, "rseq": 293, "pidfd_send_signal": 424,
    "io_uring_setup": 425, "clone3": 435, "openat2": 437, "pidfd_getfd": 438,
}  # fmt: skip
