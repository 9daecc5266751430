"""A network where every address is this machine: `python -m tests.hostile.url_trial` runs in it. Linux.

A network namespace of its own, whose loopback device has a local route for all of IPv4 and IPv6. A packet to any
address, public, private or a metadata service, ends at our listeners, so that they see what leaves the client.
"""

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_SET_FLAGS, _GET_FLAGS, _UP = 0x8914, 0x8913, 1
_NEW_ROUTE, _REQUEST, _ACKNOWLEDGE, _CREATE = 24, 1, 4, 0x400
_LOCAL_TABLE, _HOST_SCOPE, _LOCAL_TYPE, _OUT_DEVICE, _BY_KERNEL = 255, 254, 2, 4, 2


def enter() -> bool:
    """Move this process, which must have no threads, into such a network. False where the kernel does not let it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_USER | _NEW_NETWORK) != 0:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        asked = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(control, _GET_FLAGS, asked))[1]
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sH14x", b"lo", flags | _UP))
    return all(_all_local(family) for family in (socket.AF_INET, socket.AF_INET6))


def _all_local(family: int) -> bool:
    device = struct.pack("HHi", 8, _OUT_DEVICE, socket.if_nametoindex("lo"))
    route = struct.pack("BBBBBBBBI", family, 0, 0, 0, _LOCAL_TABLE, _BY_KERNEL, _HOST_SCOPE, _LOCAL_TYPE, 0) + device
    head = struct.pack("IHHII", 16 + len(route), _NEW_ROUTE, _REQUEST | _ACKNOWLEDGE | _CREATE, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.bind((0, 0))
        kernel.send(head + route)
        error = struct.unpack("i", kernel.recv(4096)[16:20])[0]
    return bool(error == 0)


def name_servers() -> list[str]:
    """Addresses that the system's resolver asks."""
    lines = Path("/etc/resolv.conf").read_text().splitlines() if os.path.exists("/etc/resolv.conf") else []
    found = [line.split()[1] for line in lines if line.startswith("nameserver ")]
    return found or ["127.0.0.1"]
