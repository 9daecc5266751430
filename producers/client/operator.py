"""What an operator's tools see: the jobs of all tenants, by the topics that only trusted readers may read."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ops.settings import Settings
from producers.client.core import checked, key_of, name_of, new_job_id
from producers.client.finding import find
from producers.client.orders import Orders
from producers.client.reader import TopicReader
from producers.client.redo import redone
from producers.client.sending import Sender
from producers.client.signing import Signer
from schemas.errors import Fatal, Transient
from schemas.events import JobFinished, JobState
from schemas.ids import fingerprint, job_key
from schemas.lifecycle import TERMINAL
from schemas.request import JobOrder, JobRequest
from schemas.topics import JOBS_FINISHED, JOBS_STATE

POLL_S = 0.25


class Operator(Orders):
    """Submits jobs and reads what became of any of them. One per thread.

    A job's name is its job id, or ``tenant/job_id`` for a tenant other than ``default``. Reads jobs.state and
    jobs.finished. Every method raises Transient when the broker is out of reach.
    """

    def __init__(self, settings: Settings, signer: Signer | None = None) -> None:
        self.settings = settings
        self._sender = Sender(settings, signer, source="/reelbus/operator")

    def __enter__(self) -> "Operator":
        return self

    def __exit__(self, *_: object) -> None:
        self._sender.flush()

    def submit(self, request: JobRequest | Mapping[str, Any]) -> str:
        """Publish one job and return its name, once the broker has it on all replicas.

        The request is checked here by the same decoding as in the pipeline. Raises InvalidMessage that names the
        field; nothing is sent then. Sending the same job id twice is safe: the second changes nothing.
        """
        (name,) = self.submit_many([request])
        return name

    def submit_many(self, requests: Iterable[JobRequest | Mapping[str, Any]]) -> Iterator[str]:
        """Publish jobs as they come; yields each name once the broker has it.

        A request that is wrong raises InvalidMessage; those before it are sent, it and the rest are not.
        """
        good = (checked(request, new_job_id) for request in requests)
        for request in self._sender.requests(good):
            yield name_of(job_key(request.tenant, request.job_id))

    def redo(
        self,
        job: str,
        shot: int,
        chunk: int | None = None,
        *,
        seed: int | None = None,
        job_id: str = "",
        request: JobRequest | None = None,
    ) -> str:
        """Publish a job that makes the video of a completed job again but for one shot or chunk; returns its name.

        request: of the job; looked up on the request topics if left out
        Raises Fatal for a job that is not completed or whose request is gone, InvalidMessage that names what is wrong.
        """
        state = self.state(job)
        if state is None or state.video is None:
            stands = "not known" if state is None else state.state
            raise Fatal(f"job {job} is {stands}; only a completed job can be redone in part, send others again")
        original = request or find(self.settings, state)
        if fingerprint(original) != state.fingerprint:
            raise Fatal(f"the request is not that of job {job}; give the one that was sent")
        seeds = state.video.provenance.seeds
        return self.submit(redone(original, shot, chunk, seed=seed, job_id=job_id, seeds=seeds))

    def named(self, job: str) -> tuple[str, str]:
        """A job of any tenant, by its name."""
        tenant, _, job_id = key_of(job).partition("/")
        return tenant, job_id

    def order(self, order: JobOrder) -> None:
        """Publish an order; see `Orders`."""
        self._sender.order(order)

    def cancel_many(self, jobs: Iterable[str], reason: str = "") -> int:
        """`cancel` for many, acknowledged together. Returns how many."""
        return self._sender.orders(
            JobOrder(tenant=tenant, job_id=job_id, action="cancel", reason=reason)
            for tenant, job_id in map(self.named, jobs)
        )

    def states(self, jobs: Iterable[str] = (), *, follow: bool = True) -> Iterator[JobState]:
        """States of all jobs, or of `jobs`: first what is known, then every change as it happens.

        Without `follow` it ends where the topic ended. With it, it never ends by itself.
        """
        wanted = {key_of(job) for job in jobs}
        with TopicReader(self.settings, [JOBS_STATE]) as reader:
            while follow or not reader.caught_up:
                for entry in reader.poll(POLL_S):
                    if isinstance(entry.record, JobState) and (not wanted or entry.record.job in wanted):
                        yield entry.record

    def state(self, job: str) -> JobState | None:
        """Where a job stands now; None when nothing is known of it."""
        known = list(self.states([job], follow=False))
        return max(known, key=lambda state: state.sequence, default=None)

    def wait(self, job: str, timeout_s: float) -> JobState:
        """The terminal state of a job. Raises Transient when it has none after `timeout_s`."""
        until_s = time.monotonic() + timeout_s
        key, last = key_of(job), "not known"
        with TopicReader(self.settings, [JOBS_STATE]) as reader:
            while time.monotonic() < until_s:
                for entry in reader.poll(POLL_S):
                    if isinstance(entry.record, JobState) and entry.record.job == key:
                        last = entry.record.state
                        if last in TERMINAL:
                            return entry.record
        raise Transient(f"job {job} is {last} after {timeout_s:g} s")

    def results(self, *, follow: bool = True) -> Iterator[JobFinished]:
        """Terminal records of all jobs, exactly one per job, as far back as the topic keeps them."""
        with TopicReader(self.settings, [JOBS_FINISHED]) as reader:
            while follow or not reader.caught_up:
                for entry in reader.poll(POLL_S):
                    if isinstance(entry.record, JobFinished):
                        yield entry.record
