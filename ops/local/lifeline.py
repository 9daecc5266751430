"""Runs a command that the kernel kills when its parent dies: `lifeline.py PARENT_PID COMMAND [ARGUMENT ...]`.

A wrapper instead of subprocess's preexec_fn, which may deadlock in a process that has threads. The command replaces
the wrapper, so its pid is the one that the parent started. Stands alone: it is run by path with `-I -S`, in 15 ms.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    parent, *command = argv
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):  # it died before we asked
            sys.exit("lifeline: the parent is gone")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
