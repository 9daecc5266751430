"""One job, worker or webhook in words: the same in the live view, in plain lines and in the final table. Pure."""

from ops.view.units import count, moment, seconds
from schemas.events import JobState, State, WebhookDelivery
from schemas.lifecycle import TERMINAL
from schemas.work import WorkerState

STYLE: dict[State, str] = {
    "accepted": "dim", "planned": "dim", "queued": "yellow", "rendering": "cyan", "assembling": "magenta",
    "completed": "green", "rejected": "red", "failed": "bold red", "cancelled": "red", "expired": "red",
}  # fmt: skip
WAITING: frozenset[State] = frozenset(("accepted", "planned", "queued"))


def job_name(job: str, tenant: str) -> str:
    """A job key without the tenant that goes without saying."""
    return job.removeprefix(f"{tenant}/")


def chunks(state: JobState) -> str:
    """'3/5', with '(2 reused)' where chunks were there already; '' until the job is planned."""
    progress = state.progress
    if progress is None or not progress.chunks:
        return ""
    done = f"{progress.rendered + progress.reused}/{progress.chunks}"
    return f"{done} ({progress.reused} reused)" if progress.reused else done


def queue(state: JobState) -> str:
    """'next' or '3 ahead' for a job that waits, else ''."""
    if state.state not in WAITING or state.progress is None or state.progress.queue_position is None:
        return ""
    ahead = state.progress.queue_position
    return "next" if ahead == 0 else f"{ahead} ahead"


def waited_s(state: JobState, now_ms: int) -> float | None:
    """Seconds from request to first chunk, or until now for a job that still waits; None when it never began."""
    if state.progress is not None and state.progress.waited_s is not None:
        return state.progress.waited_s
    return (now_ms - state.requested_at_ms) / 1000 if state.state in WAITING else None


def note(state: JobState) -> str:
    """Why a job ended without a video, what stops it, or when it will be ready."""
    if (why := stopped(state)) and state.state not in TERMINAL:
        return why
    if state.reason is not None:
        field, message = state.reason.field, state.reason.message
        return f"{field}: {message}" if field and not message.startswith(field) else message
    if state.state not in TERMINAL and state.progress is not None and state.progress.eta_s is not None:
        return f"ready in about {seconds(state.progress.eta_s)}"
    return ""


def stopped(state: JobState) -> str:
    """'held since 2026-12-01 18:00:05 UTC: legal looks at it', 'lane bulk is paused', 'tenant acme has used its 3600
    device-seconds of today; goes on at 2026-12-02 00:00:00 UTC'; '' for one that goes on."""
    steering = state.steering
    if steering is not None and steering.held:
        since = f"held since {moment(steering.held_at_ms)}"
        return f"{since}: {steering.held_reason}" if steering.held_reason else since
    progress = state.progress
    if progress is None or not progress.stopped or progress.resumes_at_ms is None:
        return progress.stopped if progress is not None else ""
    return f"{progress.stopped}; goes on at {moment(progress.resumes_at_ms)}"


def worker(state: WorkerState, drained: bool = False) -> str:
    """'step 3/8 of 1f0c9a2b, 1 waiting' or 'idle'; 'drained' or 'draining: step 3/8 ...' for one that gets no more."""
    if drained:
        return f"draining: {worker(state)}" if state.pending else "drained"
    if not state.pending:
        return "idle" if state.models or not state.steps else "loading the model"
    doing = f"step {state.step}/{state.steps} of" if state.steps else "starting"
    waiting = f", {len(state.pending) - 1} waiting" if len(state.pending) > 1 else ""
    return f"{doing} chunk {state.pending[0][:8]}{waiting}"


def webhook(delivery: WebhookDelivery) -> str:
    """'delivered after 2 tries', 'given-up after 7 tries: connection refused'."""
    text = f"{delivery.outcome} after {count(delivery.attempt, 'try')}".replace("trys", "tries")
    return f"{text}: {delivery.error}" if delivery.error else text
