"""Seeded bugs, one per class of fault that the simulation is there for. It must find each, or it proves nothing.

Most live in the models, which ask `world.bugs`; those of the cores are patched in by `seeded`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

from msgspec.structs import replace

from schemas.topics import REVIEWS_OPEN
from stream_processors.dispatch import metering
from stream_processors.dispatch import results as dispatch_results
from stream_processors.dispatch.accounts import Accounts
from stream_processors.dispatch.book import Book
from stream_processors.dispatch.calling_off import CallingOff
from stream_processors.mux import core as mux_core
from stream_processors.track import core as track_core
from tests.simulation import muxing

BUGS: Mapping[str, str] = {
    "commit before produce": "the worker loop commits an offset before its answers are acknowledged",
    "auto commit": "a front stage's offset moves when a record is read",
    "render commits what it reads": "a render worker commits a task when it comes",
    "offsets beside the transaction": "dispatch commits its offsets outside its transaction",
    "no If-None-Match": "the last writer of an object wins",
    "mux reads uncommitted": "mux acts on tasks of transactions that were aborted",
    "dispatch state not restored": "a new leader starts empty",
    "track state not restored": "a new owner of a partition starts empty",
    "track reads its table too early": "a new owner does not wait for the transactions of the one before",
    "dedupe by offset": "track knows an ended job again by the offset of its event only",
    "cancel wins against assembly": "a job whose video is being assembled is said to be cancelled",
    "chunk index off by one": "mux takes the frames of the next chunk",
    "a frame is lost between shots": "the timeline leaves out the last frame of a shot",
    "faults are ignored": "mux assembles what it has, whatever is missing or rotten",
    "no cap on attempts": "a chunk that cannot be rendered is tried for ever",
    "webhook id per attempt": "each try of a webhook has an id of its own",
    "every request owns its id": "track admits whatever dispatch has taken in",
    "a report counts whenever it comes": "device time of a report that comes twice is metered twice",
    "late device time is nobody's": "what is reported after a job's end is in no usage record",
    "what was reserved stays reserved": "a job that is over gives nothing back",
    "doubtful frames pass": "what a person is to look at goes on at once",
    "a review is never closed": "a job that is over still waits for a person",
}


_cancel = CallingOff.cancel


def _cancel_late(self: CallingOff, control: Any, job: Any, now_ms: int) -> Any:
    if job is not None and job.row.phase == "assembling":
        job.row = replace(job.row, phase="active")
    return _cancel(self, control, job, now_ms)


_admission = track_core.admission


def _admits_all(state: Any, event: Any) -> Any:
    return _admission(replace(state, fingerprint=event.fingerprint), event)


_counted = metering._counted


def _counted_always(row: Any, rendered: Any) -> Any:
    return _counted(replace(row, counted=()), rendered)


def _all_allowed(self: Any, job: Any, inspected: Any) -> Any:
    return inspected.verdict and replace(inspected.verdict, verdict="allow")


_close = Book.close


def _case_left_open(self: Book, job: Any, *args: Any, **more: Any) -> Any:
    return [out for out in _close(self, job, *args, **more) if out.topic is not REVIEWS_OPEN]


_timeline = mux_core.timeline


def _short_timeline(plan: Any) -> Iterator[Any]:
    shown = list(_timeline(plan))
    return iter(shown[:-1])


@contextmanager
def seeded(bug: str) -> Iterator[frozenset[str]]:
    """Switch a bug on; yields what the world is to be told."""
    patches: tuple[Any, ...] = ()
    if bug == "cancel wins against assembly":
        patches = (mock.patch.object(CallingOff, "cancel", _cancel_late),)
    elif bug == "a frame is lost between shots":
        patches = (mock.patch.object(muxing, "timeline", _short_timeline),)
    elif bug == "every request owns its id":
        patches = (mock.patch.object(track_core, "admission", _admits_all),)
    elif bug == "a report counts whenever it comes":
        patches = (mock.patch.object(metering, "_counted", _counted_always),)
    elif bug == "late device time is nobody's":
        patches = (mock.patch.object(dispatch_results, "spend_late", return_value=[]),)
    elif bug == "what was reserved stays reserved":
        patches = (mock.patch.object(Accounts, "settled", return_value=[]),)
    elif bug == "doubtful frames pass":
        patches = (mock.patch.object(dispatch_results.Results, "_judged", _all_allowed),)
    elif bug == "a review is never closed":
        patches = (mock.patch.object(Book, "close", _case_left_open),)
    elif bug == "no cap on attempts":
        patches = (mock.patch.object(dispatch_results, "MAX_FAILURES", 10**9),)
    for patch in patches:
        patch.start()
    try:
        yield frozenset((bug,))
    finally:
        for patch in patches:
            patch.stop()
