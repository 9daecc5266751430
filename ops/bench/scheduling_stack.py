"""The stack of `bench scheduling`: the real stages and workers, with a renderer that takes a known time.

Left out are mux, notify and reply, which see a job after the scheduler is done with it. Frames are inspected by a
blocklist only: the network would need more of the machine than all the rest.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops import topics_admin
from ops.bench.overhead_peers import places
from ops.bus import clients
from ops.local.supervisor import Supervisor
from ops.settings import Settings
from producers.client import Operator
from schemas.codec import decode
from schemas.errors import Fatal
from schemas.events import JobEvent
from schemas.request import JobRequest, Lane, Output, Shot
from schemas.topics import CHUNKS_RENDERED, JOBS_EVENTS, Topic
from schemas.work import ChunkRendered

STAGES = ("moderate", "split", "prioritise", "dispatch", "inspect", "track")
FOLLOWED = (CHUNKS_RENDERED, JOBS_EVENTS)
FRAMES, STEPS = 8, 20
PATIENCE_S = 900.0
REGISTRY = """
[[model]]
name = "timed"
family = "fake"
source = "none"
revision = "1"
pools = ["cpu"]
clip_frames = {frames}
given_frames = 0
sizes = [[64, 64]]
fps_min = 1
fps_max = 60
steps = {steps}
guidance = 1.0
chunk_cost_s = {chunk_s}
chunk_codec = "ffv1"
"""
BLOCKLIST = """
frames_per_second = 1.0
max_frames = 2

[[providers]]
name = "blocklist"
category = "known-image"
max_distance = 0
hashes = ["0123456789abcdef"]
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """One chunk on a device, wall-clock seconds since the epoch."""

    job: str
    worker: str
    began_s: float
    ended_s: float


class Stack:
    """Jobs go in, chunks on devices are seen."""

    def __init__(self, settings: Settings, supervisor: Supervisor, follow: Sequence[Topic]) -> None:
        self.settings = settings
        self._supervisor = supervisor
        self._client = Operator(settings)
        self._reader = clients.consumer(settings, clients.group_id(settings, "bench"))
        self._reader.assign(places(self._reader, settings, *follow))
        self.ran: dict[str, Ran] = {}
        """First chunk of every job."""
        self.queued: set[str] = set()

    def submit(self, jobs: Iterable[JobRequest]) -> list[str]:
        """Returns the names of the jobs, once the broker has them."""
        return list(self._client.submit_many(jobs))

    def look(self, timeout_s: float) -> None:
        """Take in what has happened."""
        for message in self._reader.consume(500, timeout_s):
            if message.error() is not None:
                continue
            if message.topic() == JOBS_EVENTS.name(self.settings.prefix):
                event = decode(JobEvent, message.value())
                if event.type == "job.queued":
                    self.queued.add(event.job)
                elif event.type in ("job.failed", "job.rejected", "job.expired"):
                    raise Fatal(f"{event.job}: {event.type} {event.reason}")
            else:
                report = decode(ChunkRendered, message.value())
                ended_s = message.timestamp()[1] / 1000
                ran = Ran(report.job, report.worker_id, ended_s - report.device_s, ended_s)
                self.ran.setdefault(report.job, ran)

    def pids(self) -> dict[str, int]:
        """Process id by name, of those that run now."""
        return {child.name: child.pid for child in self._supervisor.status() if child.pid is not None}

    def until_queued(self, jobs: Iterable[str]) -> None:
        """Until the scheduler has all of these jobs."""
        self._until(lambda: self.queued >= set(jobs), "queued")

    def until_ran(self, jobs: Iterable[str]) -> None:
        """Until each of these jobs has had a device."""
        self._until(lambda: self.ran.keys() >= set(jobs), "rendered")

    def _until(self, done: Callable[[], bool], what: str) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while not done():
            if time.monotonic() > until_s:
                raise Fatal(f"{len(self.queued)} jobs queued, {len(self.ran)} rendered; not all {what} in time")
            self.look(0.1)

    def close(self) -> None:
        self._reader.close()


def job(name: str, tenant: str, lane: Lane) -> JobRequest:
    """A job of one chunk."""
    return JobRequest(
        job_id=name,
        tenant=tenant,
        lane=lane,
        model="timed",
        shots=(Shot(prompt=f"chunk of {name}", duration_s=1.0),),
        output=Output(width_px=64, height_px=64, fps=FRAMES),
    )


@contextlib.contextmanager
def stack(
    folder: Path, bootstrap_servers: str, prefix: str, chunk_s: float, workers: int, follow: Sequence[Topic] = FOLLOWED
) -> Iterator[Stack]:
    """All stages and workers, from nothing, until the block ends. follow: topics that `look` reads."""
    home = folder / prefix
    home.mkdir()
    (home / "registry.toml").write_text(REGISTRY.format(frames=FRAMES, steps=STEPS, chunk_s=json.dumps(chunk_s)))
    (home / "frames.toml").write_text(BLOCKLIST)
    settings = Settings().replace(
        bootstrap_servers=bootstrap_servers, prefix=prefix, store=str(home / "store"), data_dir=str(home / "data"),
        registry=str(home / "registry.toml"), frame_policy=str(home / "frames.toml"), pool="cpu", health_address="",
    )  # fmt: skip
    topics_admin.apply(settings, topics_admin.plan(settings))
    with Supervisor([*((name, 1) for name in STAGES), ("render", workers)], settings) as supervisor:
        made = Stack(settings, supervisor, follow)
        try:
            warm = made.submit(job(f"warm-{number}", "warm", "standard") for number in range(4 * workers))
            made.until_ran(warm)
            yield made
        finally:
            made.close()
