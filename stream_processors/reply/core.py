"""From a reply among all to the record on the caller's own topic. Pure."""

from schemas.events import JobReply
from schemas.records import Outgoing
from schemas.topics import CallersTopic


def answer(reply: JobReply) -> Outgoing | None:
    """The record for the caller, None when the request named no reply topic."""
    if not reply.reply_topic:
        return None
    return Outgoing(CallersTopic(reply.reply_topic), reply.job_id, reply, format=reply.origin.format)
