"""One POST to a service: bounded in time and size, no redirects, proxies or cookies (ops/net)."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

import httpcore

from ops.net.addresses import Refused, Target, parse_url
from ops.net.dialling import Deadline, Dialler, NoAnswer, header_texts
from schemas.errors import Fatal
from stream_processors.inspect.services.outcome import Unanswered

MAX_ANSWER_BYTES = 256 * 1024
"""A real answer has some 2 KB."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole. headers: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Poster:
    """Makes requests to addresses that the operator chose. Calls are independent, and no connection is kept."""

    def __init__(self) -> None:
        self._dialler = Dialler(allow_private=True)

    def post(self, target: Target, headers: Mapping[str, str], body: bytes, timeout_s: float) -> Answer:
        """Raises Unanswered when there is no whole answer in time, or one of more than MAX_ANSWER_BYTES."""
        sent = {"Accept-Encoding": "identity", "User-Agent": "reelbus", **headers}
        try:
            with self._dialler.request("POST", target, sent, Deadline(timeout_s), body) as response:
                return Answer(response.status, header_texts(response), _read(response))
        except NoAnswer as exc:
            raise Unanswered(f"no answer: {exc}") from None
        except Refused as exc:
            raise Unanswered(f"endpoint: {exc}", again=False) from None


def endpoint(url: str, provider: str) -> Target:
    """An endpoint of the policy. Raises Fatal for one that would send the key in clear over a network."""
    try:
        target = parse_url(url)
    except Refused as exc:
        raise Fatal(f"provider {provider}: endpoint: {exc}") from None
    if target.scheme != "https" and not _is_loopback(target.host):
        raise Fatal(f"provider {provider}: endpoint: expected https:// (http:// for this machine only)")
    return target


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(response: httpcore.Response) -> bytes:
    parts, size = [], 0
    for part in response.iter_stream():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise Unanswered(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)
