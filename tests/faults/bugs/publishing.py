"""Mistakes in what is put into the store and deleted from it, and when."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import PurePath
from typing import Any
from unittest import mock


def unconditional_put(stage: str) -> None:
    """The S3 store puts without If-None-Match: the last one wins."""
    from ops.storage.s3 import S3Store

    conditional = S3Store._conditional

    def bare(self: Any, info: Any, request: Any, **arguments: Any) -> None:
        def without(**given: Any) -> Any:
            given.pop("IfNoneMatch")
            return request(**given)

        conditional(self, info, without, **arguments)

    S3Store._conditional = bare


def video_before_side_files(stage: str) -> None:
    """mux puts the video first, and takes a job whose video is there for done."""
    if stage != "mux":
        return
    from msgspec.structs import replace

    from ops.crash_points import reached
    from schemas.ids import video_object_key
    from stream_processors.mux import shell

    def publish(self: Any, task: Any, made: Any) -> Any:
        refs = {}
        files = (
            (shell.VIDEO, made.video),
            (shell.THUMBNAIL, made.thumbnail),
            (shell.CONTACT_SHEET, made.contact_sheet),
        )
        for name, path in files:
            key = video_object_key(task.plan.job, name)
            refs[name] = self._file(self._store.put(key, path, shell._CONTENT_TYPES[name])[1])
            reached("mux", f"{PurePath(name).stem}-put")
        return self._published(task, refs[shell.VIDEO], refs[shell.THUMBNAIL], refs[shell.CONTACT_SHEET])

    def adopt(self: Any, task: Any) -> Any:
        info = self._store.head(video_object_key(task.plan.job, shell.VIDEO))
        if info is None:
            return None
        video = self._file(info)
        names = shell.THUMBNAIL, shell.CONTACT_SHEET  # they must be there, for the video is
        return self._published(task, video, *(replace(video, key=video_object_key(task.plan.job, n)) for n in names))

    shell.Muxer._publish, shell.Muxer._adopt = publish, adopt


def cancel_while_assembling(stage: str) -> None:
    """dispatch lets a job be cancelled that mux is at work on: it says cancelled, and the video comes all the same."""
    if stage != "dispatch":
        return
    from schemas.events import Reason
    from stream_processors.dispatch.calling_off import CallingOff

    cancel = CallingOff.cancel

    def obliging(self: Any, control: Any, job: Any, now_ms: int) -> Any:
        if job is not None and job.row.phase == "assembling":
            reason = Reason(code="cancelled", message="cancelled by request")
            return self._book.end(job, "job.cancelled", now_ms, reason, by_order=True)
        return cancel(self, control, job, now_ms)

    CallingOff.cancel = obliging


def deletes_published() -> AbstractContextManager[object]:
    """Garbage collection takes videos of all jobs that have ended for useless, completed ones too.

    It runs in the process of the check, so this one is a context.
    """
    from schemas.lifecycle import TERMINAL

    def careless(uid: str, living: Any) -> str | None:
        return "video_of_ended_job" if living.jobs.get(uid) in TERMINAL else None

    return mock.patch("ops.garbage.core._video", careless)


def _in_no_stage(stage: str) -> None:
    """`deletes_published` concerns no stage."""


MISTAKES: Mapping[str, Callable[[str], None]] = {
    "no-if-none-match": unconditional_put,
    "video-before-side-files": video_before_side_files,
    "cancel-while-assembling": cancel_while_assembling,
    "gc-deletes-published": _in_no_stage,
}
