"""The child that fetches one file of a stranger. Started by ops.net.fetching; answers a line of JSON.

It has the network, and so it decodes nothing: the bytes go into the file that was handed over, and nowhere else.
"""

import os
import sys

import msgspec

from ops.bus.process import die_with_parent
from ops.net.addresses import Refused, Target, parse_url
from ops.net.dialling import Deadline, Dialler, NoAnswer
from ops.net.download import MAX_REDIRECTS, NoFile, download
from ops.net.fetching import Answer, Order
from ops.net.sources import check_https
from ops.sandbox import lockdown


def fetched(order: Order) -> Answer:
    """Fetch what the order says."""
    dialler = Dialler(allow_private=order.allow_private or order.operators)

    deadline = Deadline(order.timeout_s)

    def check(url: str) -> Target:
        # A presigned address may carry a long session token.
        return parse_url(url, 8192) if order.operators else check_https(url, order.allow_private)

    try:
        with os.fdopen(order.fd, "wb") as file:
            hops = 0 if order.operators else MAX_REDIRECTS
            download(dialler, order.url, check, file.write, order.max_bytes, deadline, hops)
    except Refused as exc:
        return Answer("refused", str(exc))
    except NoFile as exc:
        return Answer("no-file", str(exc))
    except NoAnswer as exc:
        return Answer("no-answer", str(exc))
    except (OSError, MemoryError, UnicodeError) as exc:
        return Answer("no-answer", f"the fetch broke off ({type(exc).__name__})")
    return Answer()


def main() -> None:
    """See the module's docstring."""
    die_with_parent()
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    lockdown.apply(order.limits)
    guards = lockdown.lock("fetching")
    answer = msgspec.structs.replace(fetched(order), guards=guards)
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    sys.stdout.buffer.flush()
    os._exit(0)
