"""Local TCP ports: is one free, who holds it, give me another."""

import contextlib
import os
import socket
from pathlib import Path

HOST = "127.0.0.1"
LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """True when a server could listen on 127.0.0.1:port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def owner(port: int) -> str:
    """Who listens on a port, e.g. "pid 123 (java)"; "" where /proc does not tell (other user, not Linux)."""
    sockets = _listening_inodes(port)
    for entry in Path("/proc").glob("[0-9]*/fd/*") if sockets else ():
        with contextlib.suppress(OSError):
            if os.readlink(entry) in sockets:
                process = entry.parent.parent
                return f"pid {process.name} ({(process / 'comm').read_text().strip()})"
    return ""


def _listening_inodes(port: int) -> frozenset[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                cells = line.split()
                if cells[3] == LISTEN and int(cells[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{cells[9]}]")
    return frozenset(found)
