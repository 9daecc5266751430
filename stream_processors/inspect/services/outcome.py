"""What an answer of a service amounts to before its body is read. Pure."""

import re
from collections.abc import Mapping

import msgspec

from schemas.errors import Fatal, Transient

MAX_RETRY_AFTER_S = 600.0
_LATER = frozenset((408, 409, 425, 429))
_OUR_FAULT = {
    401: "check key_file",
    403: "check key_file, and what the key may do",
    404: "check endpoint, and the name of the model or resource",
}
# Letters alone: no digits, so a key that is echoed is not taken for one.
_CODE = re.compile(r"[A-Za-z_]{3,60}")


class Unanswered(Transient):
    """The service gave no answer that can be used.

    again:         whether the same request may be answered if it is made again at once
    reachable:     whether the service is there all the same, and only will not judge this picture
    retry_after_s: how long it asks to be left alone; 0 when it does not say
    """

    def __init__(self, why: str, *, again: bool = True, reachable: bool = False, retry_after_s: float = 0.0) -> None:
        super().__init__(why)
        self.again, self.reachable, self.retry_after_s = again, reachable, retry_after_s


class _Fault(msgspec.Struct):
    code: str = ""


class _Faults(msgspec.Struct):
    error: _Fault


def code_in(body: bytes) -> str:
    """The error code in a body as OpenAI and Azure write it, "" without one. Never a message: it may quote the key."""
    try:
        code = msgspec.json.decode(body, type=_Faults).error.code
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return code if _CODE.fullmatch(code) else ""


def check_status(status: int, code: str = "", retry_after_s: float = 0.0) -> None:
    """Passes for 200. Raises Fatal for what an operator must put right, else Unanswered."""
    if status == 200:
        return
    said = f"the service answers {status}" + (f" {code}" if _CODE.fullmatch(code) else "")
    if status in _OUR_FAULT:
        raise Fatal(f"{said}; {_OUR_FAULT[status]}")
    if 300 <= status <= 399:
        raise Unanswered(f"{said}, a redirect, which is not followed; set endpoint to where it leads", again=False)
    if status in _LATER or status >= 500:
        raise Unanswered(said, retry_after_s=min(max(retry_after_s, 0.0), MAX_RETRY_AFTER_S))
    if 400 <= status <= 499:
        raise Unanswered(f"{said}: it does not take this picture", again=False, reachable=True)
    raise Unanswered(f"{said}; expected 200")


def check_type(headers: Mapping[str, str], expected: str) -> None:
    """Raises Unanswered unless the body is said to be plain `expected`. headers: names in lower case."""
    found = headers.get("content-type", "").partition(";")[0].strip().lower()
    if found != expected:
        raise Unanswered(f"the answer is of type {found[:60]!a}; expected {expected}")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Unanswered("the answer is compressed, which was not asked for")


def nonsense(error: Exception) -> Unanswered:
    """An answer whose body is not what it should be."""
    return Unanswered(f"the answer is not what the service should say: {ascii(str(error)[:200])[1:-1]}")
