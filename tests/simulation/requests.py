"""The requests that programs submit: few ids and shapes, so that duplicates, conflicts and shared chunks are common."""

from dataclasses import dataclass

from schemas.request import JobRequest, Lane, Output, Shot, Transition, Webhook

FPS = 10
TENANTS = ("acme", "umbra")
REPLY_TOPIC = "reelbus.replies.{tenant}.v1"
REFUSED_BY_FRAMES = "a grey stone on a table"
"""The fake moderator refuses its pictures; its text passes."""
DOUBTFUL = "a pale figure in the mist"
"""The fake moderator leaves its pictures to a person."""
REFUSED_PROMPT = "a naked woman"
POISON = "a cracked mirror"
"""Takes every device down that renders it."""
BALL, CUBE, CONE = "a red ball", "a blue cube", "a green cone"


@dataclass(frozen=True, slots=True)
class Shape:
    """shots: (prompt, frames, chained, seed). fade: (after shot, frames)."""

    shots: tuple[tuple[str, int, bool, int | None], ...]
    fade: tuple[int, int] | None = None
    deadline_in_ms: int | None = None
    webhook: bool = False


SHAPES = (
    Shape(((BALL, 10, True, 7),), webhook=True),
    Shape(((BALL, 34, True, None),), webhook=True),
    Shape(((CUBE, 25, False, 7),)),
    Shape(((BALL, 15, True, 7), (CONE, 20, True, None)), fade=(0, 4)),
    Shape(((CONE, 12, True, None), (CUBE, 17, True, 7)), webhook=True),
    Shape(((BALL, 10, True, 7), (REFUSED_BY_FRAMES, 5, True, None))),
    Shape(((REFUSED_PROMPT, 10, True, None),)),
    Shape(((CUBE, 41, True, None),), deadline_in_ms=45_000),
    Shape(((BALL, 29, True, 7),)),
    Shape(((BALL, 10, True, 7), (POISON, 5, True, None))),
    Shape(((BALL, 10, True, 7), (DOUBTFUL, 24, True, None), (DOUBTFUL, 5, True, 7))),
)


def request(shape: int, tenant: str, job: int, lane: Lane, now_ms: int) -> JobRequest:
    """One request. Its id depends on `job` alone: another shape under it is another body."""
    of = SHAPES[shape]
    shots = tuple(
        Shot(prompt=prompt, duration_s=frames / FPS, seed=seed, continuity="chained" if chained else "independent")
        for prompt, frames, chained, seed in of.shots
    )
    fades = () if of.fade is None else (Transition(after=of.fade[0], duration_s=of.fade[1] / FPS),)
    return JobRequest(
        job_id=f"job-{job}",
        tenant=tenant,
        lane=lane,
        shots=shots,
        transitions=fades,
        output=Output(width_px=64, height_px=64, fps=FPS),
        deadline_ms=None if of.deadline_in_ms is None else now_ms + of.deadline_in_ms,
        reply_topic=REPLY_TOPIC.format(tenant=tenant),
        webhook=Webhook(url="https://callers.example/hook") if of.webhook else None,
    )
