"""One job as its caller sees it: which replies count, and which one is the end. Pure."""

import re

from schemas.errors import JobRejected, PipelineError
from schemas.events import JobFinished, JobReply, Reason

MARK_CHARACTERS = 16


def submission_id(job_id: str, mark: str) -> str:
    """CloudEvents id of what the SDK sends: the same for the same meaning, so that sending again is seen to be that.

    mark: hex hash of the meaning
    """
    return f"{job_id}-{mark[:MARK_CHARACTERS]}"


class NoVideo(PipelineError):
    """The job ended without a video, or its video was deleted since.

    state:  failed, cancelled, expired or deleted
    reason: why
    """

    def __init__(self, job_id: str, state: str, reason: Reason | None) -> None:
        why = f" ({reason.code}): {reason.message}" if reason is not None else ""
        super().__init__(f"job {job_id} is {state}{why}")
        self.state = state
        self.reason = reason


class Story:
    """Replies of one job, told once each.

    ce_id: `submission_id` of our own request, so that what becomes of another request under the same job id is not
           taken for ours; "" for a job that was sent elsewhere: what its first request became is told
    """

    def __init__(self, job_id: str, ce_id: str = "") -> None:
        self.job_id = job_id
        self.ended = False
        self.last: JobReply | None = None
        self._ce_id = ce_id
        self._sent_alike = re.compile(f"{re.escape(job_id)}-[0-9a-f]{{{MARK_CHARACTERS}}}")
        self._told: set[str] = set()

    def tell(self, replies: list[JobReply]) -> list[JobReply]:
        """What of these is news, up to the end and the deletion that may be known to have followed it."""
        news = []
        for reply in replies:
            gone = reply.type == "deleted" and self.last is not None and self.last.type == "finished"
            if (self.ended and not gone) or reply.id in self._told:
                continue
            if self._elsewhere(reply):
                continue
            self._told.add(reply.id)
            self.last = reply
            self.ended = reply.type in ("finished", "rejected", "deleted")
            news.append(reply)
        return news

    def _elsewhere(self, reply: JobReply) -> bool:
        """Whether it is about a request that means something else.

        Such a request and ours never have the same job: one of them is refused, in a reply with its own ce_id.
        """
        theirs = reply.origin.ce_id
        if self._ce_id and theirs == self._ce_id:
            return False
        second = reply.type == "rejected" and reply.state != "rejected"
        return second or (self._ce_id != "" and self._sent_alike.fullmatch(theirs) is not None)

    def late(self, timeout_s: float) -> TimeoutError:
        """What to raise when the end did not come in time."""
        stands = f"is {self.last.state}" if self.last is not None else "has got no answer"
        return TimeoutError(f"job {self.job_id} {stands} after {timeout_s:g} s")

    def result(self) -> JobFinished:
        """The result at the end. Raises JobRejected or NoVideo."""
        assert self.last is not None
        reason = self.last.reason
        if self.last.type == "rejected":
            refusal = reason or Reason(code="rejected", message="the request was rejected")
            raise JobRejected(refusal.code, refusal.message, refusal.field)
        if self.last.result is None or self.last.result.video is None:
            raise NoVideo(self.job_id, self.last.state, reason)
        return self.last.result
