"""The cases: what somebody may send to jobs.requested.standard, by kind."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from producers.client.signing import Signer
from schemas.codec import encode
from schemas.records import Headers, Incoming
from schemas.request import JobRequest, Shot
from schemas.topics import JOBS_REQUESTED

NOW_MS = 1_800_000_000_000
PREFIX = "reelbus"
TENANT = "default"
SHOT = {"prompt": "a red ball moving right on a black background", "duration_s": 1, "seed": 1}
KINDS = {
    "B1": "Bytes that are no record",
    "B2": "JSON that is huge, deep or no JSON",
    "B3": "Jobs that would cost too much",
    "B4": "Requests whose sender is not proven (with a tenants file)",
    "B5": "One job id, several requests",
    "B9": "Names that mean something elsewhere",
}


@dataclass(frozen=True)
class Case:
    """One bad record. signed: judged with a tenants file."""

    kind: str
    what: str
    value: bytes | None
    key: bytes | None = b"bad"
    headers: Headers = ()
    signed: bool = False
    names_job: bool = True
    """False when the answer cannot name a job: a dead letter."""

    def record(self, prefix: str = PREFIX) -> Incoming:
        """As moderate reads it."""
        topic = JOBS_REQUESTED["standard"].name(prefix)
        return Incoming(topic, 0, 0, self.key, self.value, self.headers, NOW_MS)


def request(**changes: Any) -> dict[str, Any]:
    """A good request, changed."""
    return {"job_id": "bad", "shots": [SHOT], **changes}


def text(**changes: Any) -> bytes:
    """The same as JSON."""
    return json.dumps(request(**changes), ensure_ascii=False).encode()


def shot(**changes: Any) -> bytes:
    """A good request of one shot, which is changed."""
    return text(shots=[{**SHOT, **changes}])


def framed(**changes: Any) -> bytes:
    """A good request as framed Avro."""
    return encode(JobRequest(job_id="bad", shots=(Shot(**SHOT),), **changes))


def no_record() -> Iterator[Case]:
    """B1."""
    good = framed()
    yield Case("B1", "no value (a tombstone)", None, names_job=False)
    yield Case("B1", "an empty value", b"", names_job=False)
    yield Case("B1", "random bytes", bytes(range(200, 256)) * 3, names_job=False)
    yield Case("B1", "text", b"please make a video", names_job=False)
    yield Case("B1", "JSON, cut in the middle", text()[:40], names_job=False)
    yield Case("B1", "JSON in UTF-16", text().decode().encode("utf-16"), names_job=False)
    yield Case("B1", "a picture (PNG)", b"\x89PNG\r\n\x1a\n" + bytes(64), names_job=False)
    yield Case("B1", "a pickle", b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00}\x94.", names_job=False)
    yield Case("B1", "a frame with nothing behind its id", good[:5], names_job=False)
    yield Case("B1", "a frame with an id that nobody gave", b"\x00\xff\xff\xff\xff" + good[5:], names_job=False)
    yield Case("B1", "a frame, cut", good[:-4], names_job=False)
    yield Case("B1", "a frame with bytes left over", good + b"x", names_job=False)
    yield Case("B1", "the record key is missing", text(), key=None)
    yield Case("B1", "the record key is another id", text(), key=b"other")
    yield Case("B1", "the record key is not UTF-8", text(), key=b"\xff\xfe")


def no_json() -> Iterator[Case]:
    """B2."""
    deep = b'{"job_id":"bad","shots":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    yield Case("B2", "10 MB in one prompt", shot(prompt="x" * 10_000_000), names_job=False)
    yield Case("B2", "100 kB in one prompt", shot(prompt="x" * 100_000))
    yield Case("B2", "a good request and 70 kB of spaces", text() + b" " * 70_000)
    yield Case("B2", "lists 10,000 deep in a request", deep, names_job=False)
    yield Case("B2", "10,000 lists that never end", b"[" * 10_000, names_job=False)
    yield Case("B2", "a list", b"[1, 2, 3]", names_job=False)
    yield Case("B2", "null", b"null", names_job=False)
    yield Case("B2", "NaN as a number", shot(duration_s=float("nan")))
    yield Case("B2", "infinity as a number", shot(duration_s=float("inf")))
    yield Case("B2", "1e309 as a number", text().replace(b'"duration_s": 1', b'"duration_s": 1e309'))
    yield Case("B2", "2^63 as a seed", shot(seed=2**63))
    yield Case("B2", "2^64 as a deadline", text(deadline_ms=2**64))
    yield Case("B2", "a whole number of 400 digits", shot(seed=10**400))
    yield Case("B2", "a number as text", shot(duration_s="1"))
    yield Case("B2", "a lone surrogate", text().replace(b"a red ball", b"\\ud800"))
    yield Case("B2", "bytes that are not UTF-8", text().replace(b"a red ball", b"\xff"))
    yield Case("B2", "a NUL in a prompt", shot(prompt="a\u0000b"))
    yield Case("B2", "a field that nobody knows", text(shot=1))
    yield Case("B2", "no shots", text(shots=[]))
    yield Case("B2", "no job id", json.dumps({"shots": [SHOT]}).encode(), names_job=False)


def cost_bombs() -> Iterator[Case]:
    """B3."""
    yield Case("B3", "a shot of 1,000,000 frames", shot(duration_s=1_000_000 / 24))
    yield Case("B3", "600 s in one shot", shot(duration_s=600))
    yield Case("B3", "50 shots of 600 s", text(shots=[{**SHOT, "duration_s": 600}] * 50))
    yield Case("B3", "1,000 shots", text(shots=[{"prompt": "x", "duration_s": 1}] * 1000))
    yield Case("B3", "16,384 x 16,384 pixels", text(output={"width_px": 16384, "height_px": 16384}))
    yield Case("B3", "4,096 x 4,096 pixels", text(output={"width_px": 4096, "height_px": 4096}))
    yield Case("B3", "1,000 frames per second", text(output={"fps": 1000}))
    yield Case("B3", "10,000 denoise steps", shot(steps=10_000))
    yield Case("B3", "a negative length", shot(duration_s=-5))
    yield Case("B3", "6,960 frames in chained chunks", shot(duration_s=290))
    yield Case("B3", "1,000 entries of metadata", text(metadata={str(n): "x" for n in range(1000)}))
    yield Case("B3", "20 kB of prompts", text(shots=[{"prompt": "ab " * 660, "duration_s": 1}] * 10))
    yield Case("B3", "a model that is not here", text(model="sora"))
    yield Case("B3", "500 transitions", text(transitions=[{"after": 0, "duration_s": 1}] * 500))


def signer(key_id: str = "k", secret: bytes = b"s" * 32, at_ms: int = NOW_MS) -> Signer:
    """A key of tenant default in the tenants file of the tests."""
    return Signer.hmac(key_id, secret, lambda: at_ms / 1000)


def unproven(prefix: str = PREFIX, now_ms: int = NOW_MS) -> Iterator[Case]:
    """B4. test_identity.py has 1,300 more. now_ms: when the broker gets the records."""
    topic, value = JOBS_REQUESTED["standard"].name(prefix), text()

    def header(on: str = topic, **of_key: Any) -> tuple[str, bytes]:
        return signer(**{"at_ms": now_ms, **of_key}).sign(on, TENANT, "bad", value)

    good = header()
    name, signature = good
    hour_ms = 3_600_000
    yield from (
        Case("B4", what, given, headers=headers, signed=True, names_job=False)
        for what, given, headers in (
            ("no signature", value, ()),
            ("a signature with another key", value, (header(secret=b"t" * 32),)),
            ("a key id of another tenant", value, (header(key_id="other"),)),
            ("the key id ../../x", value, ((name, signature.replace(b",k,", b",../../x,")),)),
            ("a signature for another lane's topic", value, (header(JOBS_REQUESTED["bulk"].name(prefix)),)),
            ("a signature for another installation", value, (header(f"other-{topic}"),)),
            ("a record replayed after an hour", value, (header(at_ms=now_ms - hour_ms),)),
            ("a time an hour ahead", value, (header(at_ms=now_ms + hour_ms),)),
            ("a new time under an old signature", value, ((name, signature.replace(b"k,1", b"k,2")),)),
            ("one word of the value changed", value.replace(b"red", b"bad"), (good,)),
            ("the tenant changed to one that is unknown", text(tenant="initech"), (good,)),
            ("the tenant changed to another one", text(tenant="other"), (good,)),
            ("two signatures", value, (good, good)),
            ("a header of 10 kB", value, ((name, b"v1," * 3400),)),
        )
    )


def names() -> Iterator[Case]:
    """B9."""
    for what, job_id in (
        ("../../etc/passwd", "../../etc/passwd"), ("%2e%2e%2f", "%2e%2e%2f"), ("a NUL", "a\u0000b"),
        ("a name with a slash", "a/b"), ("a newline at the end", "bad\n"), ("4,000 characters", "x" * 4000),
        ("right-to-left marks", "a\u202eb"), ("an emoji", "job🎬"), ("an empty name", ""), ("a dot first", ".bad"),
    ):  # fmt: skip
        yield Case("B9", f"job id: {what}", text(job_id=job_id), key=job_id.encode(), names_job=False)
    yield Case("B9", "tenant: ../other", text(tenant="../other"), names_job=False)
    yield Case("B9", "tenant: a slash", text(tenant="a/b"), names_job=False)
    yield Case("B9", "model: ../../weights", text(model="../../weights"))
    yield Case("B9", "reply topic: a topic of the stages", text(reply_topic="reelbus.jobs.control.v1"))
    yield Case("B9", "reply topic: another tenant's", text(reply_topic="reelbus.replies.other.v1"))
    yield Case("B9", "webhook: file:///etc/passwd", text(webhook={"url": "file:///etc/passwd"}))
    yield Case("B9", "webhook: name and password", text(webhook={"url": "https://u:p@example.org/"}))
    yield Case("B9", "destination: ../", text(destination={"uri": "../../"}))


CASES = (*no_record(), *no_json(), *cost_bombs(), *unproven(), *names())
