"""Scenarios that bring planted mistakes out, and which rule each mistake must be caught by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from schemas.events import EventType
from schemas.request import JobRequest, Shot, Webhook
from tests.faults.bugs.circumstances import SLOW_KEY
from tests.faults.jobs import OUTPUT, Asked
from tests.faults.jobs import Kind as JobKind

LONG_S = 34 / OUTPUT.fps
"""Two whole clips of the fake model."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """jobs:          made with the URL of the receiver of webhooks
    circumstances: of tests/faults/bugs/circumstances.py
    cells:         crash points by stage, as in schedule.py
    counts:        processes of a stage, where it is not one
    kill_after:    a process, and the file that says that its time has come: it is killed KILL_AFTER_S later
    collects:      garbage is collected at the end
    """

    jobs: Callable[[str], list[Asked]]
    circumstances: tuple[str, ...] = ()
    cells: Mapping[str, Sequence[str]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    kill_after: tuple[str, str] = ("", "")
    collects: bool = False


@dataclass(frozen=True, slots=True)
class Bug:
    """name:     of tests/faults/bugs/
    scenario: of SCENARIOS
    rule:     that the checker must report
    says:     what the report must say (a pattern)
    at_rest:  it counts only if nothing was left unread: a job is lost then, and not just late
    """

    name: str
    scenario: str
    rule: str
    says: str
    at_rest: bool = False
    endless: bool = False
    """It makes something go round for ever."""
    cells: tuple[str, ...] | None = None
    """The crash points that it needs, of the scenario's; None: all."""


def _job(
    job_id: str, *, tenant: str = "default", prompt: str = "a red ball", duration_s: float = 0.5,
    seed: int | None = None, continuity: Literal["chained", "independent"] = "chained", kind: JobKind = "plain",
    webhook: str = "", copies: int = 1, cancel_at: EventType | None = None,
) -> Asked:  # fmt: skip
    shot = Shot(prompt=prompt, duration_s=duration_s, seed=seed, continuity=continuity)
    hook = Webhook(url=f"{webhook}/{job_id}") if webhook else None
    request = JobRequest(
        job_id=job_id, tenant=tenant, lane="standard", model="fake", shots=(shot,), output=OUTPUT, webhook=hook
    )
    return Asked(request=request, kind=kind, copies=copies, cancel_at=cancel_at)


def _crashes(url: str) -> list[Asked]:
    """Two tenants with the same job_id, and with the same picture; two chunks of one length; a device that breaks."""
    return [
        _job("same", tenant="other", prompt="a green box", seed=7),
        _job("same", tenant="third", prompt="a green box", seed=7),
        *(_job(f"long-{n}", duration_s=LONG_S, continuity="independent", prompt=f"number {n}") for n in range(2)),
        *(_job(f"hook-{n}", webhook=url, prompt=f"hook {n}") for n in range(2)),
        *(_job(f"plain-{n}", prompt=f"plain {n}") for n in range(2)),
        _job("doubled", copies=3, kind="doubled"),
        _job("broken", prompt="a ball device-nan", kind="broken-device"),
    ]


def _slow(url: str) -> list[Asked]:
    return [_job("plain"), _job("cancelled", kind="cancelled", cancel_at="job.assembling")]


def _front(url: str) -> list[Asked]:
    """The slow one first; those behind it end at once, whatever their partition."""
    others = [_job(f"refused-{n}", prompt="a nude figure", kind="refused") for n in range(24)]
    return [_job(SLOW_KEY.decode()), *others, _job("plain")]


def _scheduled(url: str) -> list[Asked]:
    return [_job(f"plain-{n}", prompt=f"number {n}", duration_s=1.0) for n in range(6)]


def _few(url: str) -> list[Asked]:
    return [_job(f"plain-{n}", prompt=f"number {n}") for n in range(2)]


SCENARIOS: Mapping[str, Scenario] = {
    "crashes": Scenario(
        _crashes,
        ("dies-over-end",),
        cells={
            "mux": ("mux.handled:1", "mux.thumbnail-put:1", "mux.video-put:1", "mux.acknowledged:1"),
            "notify": ("notify.delivered:1",),
        },
    ),
    "slow-assembly": Scenario(_slow, ("slow-assembly",), counts={"mux": 2}),
    "front": Scenario(_front, ("slow-record", "send-fails-once"), kill_after=("moderate", "once-slow-record")),
    "scheduler": Scenario(
        _scheduled, ("dies-before-mux", "dies-before-end"), cells={"dispatch": ("dispatch.committed:4",)}
    ),
    "garbage": Scenario(_few, collects=True),
}
LOST = "lost: no terminal record"
BUGS = (
    Bug("commit-before-produce", "crashes", "I1", LOST, at_rest=True, cells=("mux.handled:1",)),
    Bug("auto-commit", "crashes", "I1", LOST, at_rest=True, cells=("mux.handled:1",)),
    Bug("no-if-none-match", "crashes", "I4", "was put 2 times", cells=("mux.thumbnail-put:1",)),
    Bug("video-before-side-files", "crashes", "I2", "half done: there is no thumbnail", cells=("mux.video-put:1",)),
    Bug("exactly-once-alone", "crashes", "I3", "2 terminal records", cells=("mux.acknowledged:1",)),
    Bug("dedupe-on-offset", "crashes", "I1", LOST, at_rest=True, cells=()),
    Bug("chunk-index-off-by-one", "crashes", "I2", "frame 0 is", cells=()),
    Bug("chunk-name-without-tenant", "crashes", "I7", "frames of another tenant", cells=()),
    Bug("reply-topic-by-job-id", "crashes", "I7", "was told to tenant", cells=()),
    Bug("webhook-id-per-attempt", "crashes", "I3", "its webhook came under 2 ids", cells=("notify.delivered:1",)),
    Bug("retry-without-cap", "crashes", "I1", LOST, endless=True, cells=()),
    Bug("faust-concurrency", "front", "I1", LOST, at_rest=True),
    Bug("uncaught-exception", "front", "I1", LOST, at_rest=True),
    Bug("read-uncommitted", "scheduler", "I1", LOST, at_rest=True),
    Bug("row-not-saved", "scheduler", "I1", LOST, at_rest=True),
    Bug("long-transaction", "slow-assembly", "I1", "lost|ended as failed"),
    Bug("naive-poll", "slow-assembly", "I5", "mux.tasks.* records are not committed"),
    Bug("cancel-while-assembling", "slow-assembly", "I4", "a video of a job that did not complete"),
    Bug("gc-deletes-published", "garbage", "I2", "half done: there is no"),
)
