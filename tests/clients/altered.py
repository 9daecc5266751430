"""A pipeline that lies: it answers one request with a result whose sha256 is not that of the file.

The stages answer with the truth only, so a program that never looked at the file would pass on them unnoticed.
"""

import time

from msgspec.structs import replace

from ops import topics_admin
from ops.bus import clients
from ops.bus.sending import Outbox
from ops.settings import Settings
from schemas.codec import decode, encode
from schemas.events import JobReply
from schemas.topics import JOBS_REQUESTED, REPLIES_DEFAULT
from tests.clients.programs import Program
from tests.e2e.reading import read_all

PREFIX = "altered"
REQUEST_S = 120.0


def prepared(settings: Settings) -> Settings:
    """Settings with topics of their own, which no stage reads."""
    made = settings.replace(prefix=PREFIX)
    topics_admin.apply(made, topics_admin.plan(made, topics=(JOBS_REQUESTED["standard"], REPLIES_DEFAULT)))
    return made


def finished(settings: Settings, job_id: str) -> JobReply:
    """The last reply of a job that is completed."""
    replies = [decode(JobReply, r.value) for r in read_all(settings, REPLIES_DEFAULT) if r.key == job_id.encode()]
    return next(reply for reply in replies if reply.type == "finished")


def with_another_hash(reply: JobReply, job_id: str) -> JobReply:
    """The reply as one to another job, with one digit of the video's sha256 changed."""
    assert reply.result is not None
    assert reply.result.video is not None
    file = reply.result.video.file
    digit = "0" if file.sha256[0] != "0" else "1"
    video = replace(reply.result.video, file=replace(file, sha256=digit + file.sha256[1:]))
    return replace(reply, job_id=job_id, job=f"default/{job_id}", result=replace(reply.result, video=video))


def answer(program: Program, settings: Settings, job_id: str, reply: JobReply) -> None:
    """Wait for the request of `job_id`, then send the reply in the program's own format."""
    until_s = time.monotonic() + REQUEST_S
    while job_id.encode() not in {record.key for record in read_all(settings, JOBS_REQUESTED["standard"])}:
        if time.monotonic() > until_s:
            raise TimeoutError(f"no request of {job_id} after {REQUEST_S:g} s")
    outbox = Outbox(clients.producer(settings), settings.prefix, "test")
    outbox.send_raw(REPLIES_DEFAULT.name(settings.prefix), job_id.encode(), encode(reply, program.format), [])
    while outbox.waiting():
        pass
    if outbox.failures:
        raise RuntimeError(f"the reply was not taken: {outbox.failures}")
