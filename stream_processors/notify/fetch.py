"""One POST to a webhook: the checked dialling of ops.net, an answer bounded in size."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import httpcore

from ops.net.addresses import Target
from ops.net.dialling import Deadline, Dialler, Resolve, header_texts, system_resolve

TIMEOUT_S = 15.0
MAX_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver said. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]


class Fetcher:
    """Posts to webhooks. One per process; calls are independent of each other, and no connection is kept."""

    def __init__(
        self,
        *,
        allow_private: bool,
        timeout_s: float = TIMEOUT_S,
        resolve: Resolve = system_resolve,
        tls: ssl.SSLContext | None = None,
        dial: httpcore.NetworkBackend | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._dialler = Dialler(allow_private=allow_private, resolve=resolve, tls=tls, dial=dial)

    def post(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST `body`. Raises Refused before any packet goes to a denied address, NoAnswer when the receiver does not
        answer completely within the time-out, which covers everything from the lookup to the last byte."""
        with self._dialler.request("POST", target, headers, Deadline(self._timeout_s), body) as response:
            _read_at_most(response, MAX_ANSWER_BYTES)
            return Answer(response.status, header_texts(response))


def _read_at_most(response: httpcore.Response, limit: int) -> None:
    """Read the answer's body to its end or to the limit. An answer that breaks off raises: its receiver may have died
    before it did the work."""
    size = 0
    for part in response.iter_stream():
        size += len(part)
        if size >= limit:
            return
