"""A decoder child that was taken over: it answers what its file says, in place of ops.media.decode_child."""

import json
import os
import sys
import time


def main() -> None:
    """See ops.media.decode_child."""
    order = json.load(sys.stdin.buffer)
    match os.read(order["fd"], 99).decode():
        case "short":
            said = b"{}\n" + bytes(12)
        case "long":
            said = b"{}\n" + bytes(1 << 20)
        case "junk":
            said = bytes(3072)
        case "die":
            sys.exit(3)
        case _:
            time.sleep(60)
            said = b""
    sys.stdout.buffer.write(said)
