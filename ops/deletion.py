"""Takes the published files of finished jobs away, and has it said: by order, or because their time is over.

First the files, then the event: whoever is told of a deletion can rely on it. A run that dies in between is simply run
again. `track` folds the event and tells the caller (reply of type `deleted`, state `deleted`).
"""

from collections.abc import Iterable, Iterator

from ops.bus import clients
from ops.bus.sending import Outbox
from ops.levels import who
from ops.settings import Settings
from ops.storage.store import Store
from schemas.errors import Fatal, Transient
from schemas.events import JobEvent, JobState, PublishedFile, Reason
from schemas.ids import event_id
from schemas.lifecycle import TERMINAL
from schemas.records import Outgoing
from schemas.topics import JOBS_EVENTS

SOURCE = "ops"
SEND_TIMEOUT_S = 60.0


def due(states: Iterable[JobState], now_ms: int) -> Iterator[JobState]:
    """Jobs whose files may go: `expires_at_ms` has passed. Pure."""
    for state in states:
        if state.video is not None and state.video.expires_at_ms is not None and state.video.expires_at_ms <= now_ms:
            yield state


def files_of(state: JobState) -> tuple[PublishedFile, ...]:
    """Every file that a job published. Pure."""
    return () if state.video is None else (state.video.file, state.video.thumbnail, state.video.contact_sheet)


def deleted(state: JobState, reason: Reason, now_ms: int, by: str = "") -> JobEvent:
    """The event that says so; deleting twice gives the same one. by: who gave the command. Pure.

    Raises Fatal for a job that is not finished.
    """
    if state.state not in TERMINAL:
        raise Fatal(f"job {state.job} is {state.state}; cancel it before its files are deleted")
    return JobEvent(
        id=event_id("job.deleted", state.job),
        source=SOURCE,
        type="job.deleted",
        job=state.job,
        at_ms=now_ms,
        lane=state.lane,
        model=state.model,
        reply_topic=state.reply_topic,
        batch_id=state.batch_id,
        requested_at_ms=state.requested_at_ms,
        reason=reason,
        origin=state.origin,
        by=by,
    )


def delete(settings: Settings, store: Store, states: Iterable[JobState], reason: Reason, now_ms: int) -> Iterator[str]:
    """Delete the files of these jobs; yields each job once it is said.

    Raises Transient when the broker takes no event.
    """
    outbox = Outbox(clients.producer(settings), settings.prefix, SOURCE)
    for state in states:
        event = deleted(state, reason, now_ms, who())
        for file in files_of(state):
            store.delete(file.key)
        outbox.send([Outgoing(JOBS_EVENTS, state.job, event)])
        if outbox.producer.flush(SEND_TIMEOUT_S) or outbox.failures:
            why = outbox.failures[0] if outbox.failures else "no acknowledgement"
            raise Transient(f"the files of {state.job} are deleted, but that could not be said ({why}); run it again")
        yield state.job
