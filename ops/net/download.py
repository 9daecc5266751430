"""GET a file from an address that a stranger chose, hop by hop. Runs in a child process (fetch_child.py)."""

from collections.abc import Callable
from urllib.parse import urljoin

import httpcore

from ops.net.addresses import Refused, Target
from ops.net.dialling import Deadline, Dialler, NoAnswer, header_texts

MAX_REDIRECTS = 3
_MOVED = frozenset((301, 302, 303, 307, 308))
_TRY_AGAIN = frozenset((408, 425, 429))
_HEADERS = {"User-Agent": "reelbus-intake/1", "Accept": "image/*, video/*", "Accept-Encoding": "identity"}


class NoFile(Exception):
    """The other side answered, and not with a file that is taken. The message is a part of a sentence."""


Check = Callable[[str], Target]
"""From a URL to its parts; raises Refused. Every hop of a redirect goes through it."""
Write = Callable[[bytes], object]


def download(
    dialler: Dialler,
    url: str,
    check: Check,
    write: Write,
    max_bytes: int,
    deadline: Deadline,
    redirects: int = MAX_REDIRECTS,
) -> None:
    """GET `url` and hand its bytes to `write`, following some redirects; each hop is checked and looked up anew.

    Raises Refused before any packet goes to a denied address, NoFile when there is no such file or it is too large,
    NoAnswer when another try may bring it.
    """
    for _ in range(redirects + 1):
        target = check(url)
        with dialler.request("GET", target, _HEADERS, deadline) as response:
            if response.status not in _MOVED:
                _take(response, write, max_bytes)
                return
            url = _next(response, target)
    raise NoFile(f"was moved more than {redirects} times")


def _next(response: httpcore.Response, target: Target) -> str:
    location = header_texts(response).get("location", "")
    if not location:
        raise NoFile(f"answered with status {response.status} and no new address")
    try:
        return urljoin(f"{target.scheme}://{target.host_header}{target.target}", location)
    except ValueError:
        raise Refused("the new address of a redirect cannot be understood") from None


def _take(response: httpcore.Response, write: Write, max_bytes: int) -> None:
    status, headers = response.status, header_texts(response)
    if status in _TRY_AGAIN or status >= 500:
        raise NoAnswer(f"status {status}")
    if status != 200:
        raise NoFile(f"answered with status {status}")
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise NoFile("came compressed, which was not asked for")
    too_large = NoFile(f"is larger than {max_bytes >> 20} MiB")
    length = headers.get("content-length", "").strip()
    if length.isascii() and length.isdigit() and int(length[:20]) > max_bytes:
        raise too_large
    size = 0
    for part in response.iter_stream():
        size += len(part)
        if size > max_bytes:
            raise too_large
        write(part)
    if size == 0:
        raise NoFile("is empty")
