"""Chunks that are handed out, for whom, and who else waits for them. Pure."""

from stream_processors.dispatch.accounts import Accounts
from stream_processors.dispatch.job import Job


class ChunksOut:
    """changed: jobs whose chunks may have become ready to hand out; those that waited for one that lands are added."""

    def __init__(self, accounts: Accounts, changed: dict[str, None]) -> None:
        self._accounts, self._changed = accounts, changed
        self._holders: dict[str, str] = {}
        """Chunk id -> the job that has it dispatched: another job that wants it waits, and then reuses it."""
        self._in_line: dict[str, dict[str, None]] = {}
        """Chunk id -> jobs that wait for another job to have it rendered."""
        self._named: dict[str, str] = {}
        """Chunk id -> job in its task, where the job that has it dispatched took it over from that one. Not kept over a
        restart, which costs a withdrawal."""

    def holder(self, chunk_id: str, otherwise: str = "") -> str:
        """Job that has it dispatched."""
        return self._holders.get(chunk_id, otherwise)

    def sent(self, job: Job, index: int, named: str = "") -> None:
        """A chunk is out for this job. named: the job in its task, when that is another one."""
        chunk_id = job.ids[index]
        self._holders[chunk_id] = job.key
        if named:
            self._named[chunk_id] = named
        self._accounts.sent(chunk_id, job.tenant, job.chunk_cost_s)

    def landed(self, job: Job, index: int) -> None:
        """A chunk is out no more: another job that wants it may have it."""
        chunk_id = job.ids[index]
        if self._holders.get(chunk_id) == job.key:
            del self._holders[chunk_id]
            self._accounts.landed(chunk_id)
            self._named.pop(chunk_id, None)
            self._changed |= self._in_line.pop(chunk_id, {})

    def all_landed(self, job: Job) -> dict[int, str]:
        """None of its chunks is out any more. Returns those that were, each with the job that its task names."""
        held = [i for i, c in enumerate(job.row.chunks) if c.state == "d" and self._holders.get(job.ids[i]) == job.key]
        out = {index: self._named.get(job.ids[index], job.key) for index in held}
        for index in range(len(job.ids)):
            self.landed(job, index)
        return out

    def await_landing(self, job: Job, index: int) -> None:
        """The job is in line for a chunk that is out for another one."""
        self._in_line.setdefault(job.ids[index], {})[job.key] = None
