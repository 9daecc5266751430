"""The stage: fetch chunks, assemble, publish, say so.

Order of effects: thumbnail, contact sheet, video (each If-None-Match), events acknowledged, offset committed. The video
is the last object, so a job whose video exists needs no work: its event is made again from the store, and a second
delivery changes nothing.
"""

import errno
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import av

from ops.bus.burial import Unusable, told
from ops.bus.worker import run
from ops.crash_points import reached
from ops.mark_keys import load as load_mark_keys
from ops.media.lettering import Lettering
from ops.settings import Settings
from ops.storage.open import open_store
from ops.storage.store import ObjectCorrupt, ObjectInfo, ObjectMissing, PutOutcome, Store
from ops.storage.transfer import disk_errors
from schemas.chunks import chunk_keys
from schemas.codec import decode
from schemas.errors import InvalidMessage
from schemas.events import JobEvent, PublishedFile
from schemas.ids import video_object_key
from schemas.labels import wording
from schemas.mark_keys import PUBLIC, MasterKey
from schemas.plan import Plan
from schemas.records import Incoming, Outgoing
from schemas.topics import DAY_MS, MUX_TASKS, MUX_TASKS_RETRY
from schemas.work import MuxTask
from stream_processors.mux.assemble import CONTACT_SHEET, CONTENT_TYPES, THUMBNAIL, VIDEO, Assembled, assemble
from stream_processors.mux.carried import carried
from stream_processors.mux.check import OutputBroken
from stream_processors.mux.chunk_reader import BadChunk, check_chunk
from stream_processors.mux.core import (
    UNKNOWN_SIGNER,
    UNSIGNED,
    ChunkFault,
    PlanBroken,
    SignedBy,
    ask_again,
    check_plan,
    describe,
    failed,
    published,
)
from stream_processors.mux.label import PLAIN, Labeller
from stream_processors.mux.logos import NO_LOGOS, Logos, load_logos
from stream_processors.mux.scratch import scratch, sweep
from stream_processors.mux.seal import Seal, now_ms, open_seal, read_signer

log = logging.getLogger(__name__)

_DISK_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.ENOMEM}
"""What libav reports when the disk (or memory) is the trouble, not the video: tried again later."""
_ENCODER_THREADS_MAX = 8
"""x264 gains little from more at the sizes we make; more videos at a time are more mux processes."""


def main(settings: Settings) -> None:
    """Run until told to stop."""
    folder = Path(settings.data_dir) / "scratch"
    if removed := sweep(folder):
        log.info("mux: removed %d scratch folders of processes that are gone", removed)
    # c2pa copies large files through this folder; the disk that holds the scratch folders is known to have room.
    os.environ.setdefault("TMPDIR", str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    threads = min(_ENCODER_THREADS_MAX, len(os.sched_getaffinity(0)))
    kept_ms = settings.video_retention_days * DAY_MS
    labels = Labels(settings.label_profile, Lettering(settings.label_font), load_logos(settings.label_logos))
    seal, mark_key = open_seal(settings), open_mark_key(settings)
    muxer = Muxer(open_store(settings), folder, threads, now_ms, kept_ms, seal, labels, mark_key)
    run(settings, "mux", [MUX_TASKS], muxer.handle, retry=MUX_TASKS_RETRY, proves=proves, give_up=muxer.give_up)


def open_mark_key(settings: Settings) -> MasterKey | None:
    """The master key that this installation's invisible marks are made with; None: the public pattern. Raises Fatal."""
    if not settings.mark_key_file:
        return None
    first, *others = load_mark_keys(settings.mark_key_file)
    log.info("mux: marks with keys of each tenant's own, master key %s (%d more to read by)", first.id, len(others))
    return first


def proves(records: Sequence[Outgoing]) -> bool:
    """Whether store and scratch disk were in reach: a video is published. A job that fails may need neither."""
    return any(isinstance(out.record, JobEvent) and out.record.type == "job.published" for out in records)


class Labels(NamedTuple):
    """What the installation draws where a request does not say, with which fonts, and beside whose logo."""

    profile: str = "eu"
    lettering: Lettering = PLAIN
    logos: Logos = NO_LOGOS

    def labeller(self, plan: Plan) -> Labeller:
        logo, output = self.logos.of(plan.request.tenant), plan.request.output
        labeller = Labeller(wording(plan.request.label, self.profile), self.lettering, logo)
        if logo is not None and labeller.words.text and not labeller.plate(output.width_px, output.height_px).logo:
            size = f"{output.width_px}x{output.height_px}"
            log.info("mux: %s: no room for the logo beside the words at %s; it is left out", plan.job, size)
        return labeller


class Muxer:
    """Handles one mux task at a time.

    now_ms:   wall clock, ms since the epoch; stamps events, decides nothing
    kept_ms:  how long published files are promised to stay; 0: until somebody deletes them
    seal:     signs them; None: they are not signed
    mark_key: tenants' keys of the invisible mark come from it; None: the public pattern
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        threads: int,
        now_ms: Callable[[], int],
        kept_ms: int = 0,
        seal: Seal | None = None,
        labels: Labels | None = None,
        mark_key: MasterKey | None = None,
    ) -> None:
        self._mark_key = mark_key
        self._kept_ms, self._seal, self._labels = kept_ms, seal, labels or Labels()
        self._store, self._folder, self._threads, self._now_ms = store, folder, threads, now_ms

    def handle(self, incoming: Incoming) -> Sequence[Outgoing]:
        """The records that a task leads to. Raises InvalidMessage for one that cannot be understood, Transient when the
        store or the disk is out of reach."""
        task = decode(MuxTask, incoming.value)
        if incoming.key != task.plan.job.encode():
            raise InvalidMessage(f"key of a mux task must be its job, {task.plan.job!r}")
        try:
            check_plan(task.plan, len(task.ready))
            if (done := self._adopt(task)) is not None:
                return done
            return self._make(task)
        except (PlanBroken, OutputBroken) as exc:
            log.error("mux: %s cannot be assembled: %s", task.plan.job, exc)
            return failed(task, str(exc), self._now_ms())

    def give_up(self, incoming: Incoming, error: Unusable) -> Sequence[Outgoing]:
        """The end of the job whose task becomes a dead letter."""
        return failed(decode(MuxTask, incoming.value), told("mux", error), self._now_ms())

    def _adopt(self, task: MuxTask) -> list[Outgoing] | None:
        """The video was published before: say so again. None when it, or a side file, is not there."""
        names = (VIDEO, THUMBNAIL, CONTACT_SHEET)
        infos = [info for name in names if (info := self._store.head(video_object_key(task.plan.job, name)))]
        if len(infos) < len(names):
            return None
        video, thumbnail, sheet = map(self._file, infos)
        return self._published(task, video, thumbnail, sheet, self._read_signer(video.key))

    def _make(self, task: MuxTask) -> list[Outgoing]:
        with disk_errors("mux scratch"), scratch(self._folder) as folder:
            files, faults = self._fetch(task, folder)
            if faults:
                return ask_again(task, faults, self._now_ms())
            reached("mux", "fetched")
            try:
                labeller = self._labels.labeller(task.plan)
                key = self._mark_key.of(task.plan.request.tenant) if self._mark_key else PUBLIC
                foreign = carried(self._store, task.plan) if self._seal is not None else {}
                made = assemble(task.plan, files, folder, self._threads, self._seal, labeller, foreign, key)
            except BadChunk as exc:
                return ask_again(task, [self._discard(task, exc.chunk, exc.reason)], self._now_ms())
            except av.FFmpegError as exc:
                # What is wrong with a chunk is BadChunk, so this is the output.
                if exc.errno in _DISK_ERRNOS:
                    raise OSError(exc.errno, exc.strerror) from exc
                raise OutputBroken(f"the encoder failed: {exc.strerror}") from exc
            reached("mux", "assembled")
            return self._publish(task, made)

    def _fetch(self, task: MuxTask, folder: Path) -> tuple[list[Path], list[ChunkFault]]:
        """Every chunk as a local file, and what is wrong with those that cannot be used."""
        files, faults = [], []
        size = task.plan.render.width_px, task.plan.render.height_px
        fetched: dict[str, Path] = {}
        for index, (key, ready) in enumerate(zip(chunk_keys(task.plan), task.ready, strict=True)):
            path = fetched.setdefault(key, folder / f"chunk-{index}.mkv")
            files.append(path)
            try:
                info = self._store.fetch(key, path)
                if info.sha256 != ready.sha256:
                    faults.append(ChunkFault(index, f"its object is another one than was rendered: {info.sha256}"))
                    continue
                check_chunk(index, path, task.plan.chunks[index].frames, size)
            except ObjectMissing:
                faults.append(ChunkFault(index, "its object is gone"))
            except ObjectCorrupt as exc:
                faults.append(self._discard(task, index, str(exc)))
            except BadChunk as exc:
                faults.append(self._discard(task, index, exc.reason))
        return files, faults

    def _discard(self, task: MuxTask, chunk: int, reason: str) -> ChunkFault:
        """Delete a chunk object that is of no use, or else the next worker would adopt it instead of rendering."""
        key = chunk_keys(task.plan)[chunk]
        log.warning("mux: %s: discarding %s: %s", task.plan.job, key, reason)
        self._store.delete(key)
        return ChunkFault(chunk, reason)

    def _publish(self, task: MuxTask, made: Assembled) -> list[Outgoing]:
        job = task.plan.job
        refs, mine = {}, False
        for name, path in ((THUMBNAIL, made.thumbnail), (CONTACT_SHEET, made.contact_sheet), (VIDEO, made.video)):
            outcome, info = self._store.put(video_object_key(job, name), path, CONTENT_TYPES[name])
            refs[name], mine = self._file(info), outcome is PutOutcome.CREATED
            reached("mux", f"{PurePath(name).stem}-put")
        log.info("mux: %s: %d frames, mark %.1f with boost %g", job, made.frames, made.mark.confidence, made.boost)
        # The video is the last one. Another worker's may be signed with another key.
        signed_by = self._signs_as() if mine else self._read_signer(refs[VIDEO].key)
        return self._published(task, refs[VIDEO], refs[THUMBNAIL], refs[CONTACT_SHEET], signed_by)

    def _signs_as(self) -> SignedBy:
        return self._seal.signs_as if self._seal is not None else UNSIGNED

    def _read_signer(self, key: str) -> SignedBy:
        """Who signed the video that is there: not necessarily who would sign it now."""
        with disk_errors("mux scratch"), scratch(self._folder) as folder:
            file = folder / VIDEO
            try:
                self._store.fetch(key, file)
            except (ObjectMissing, ObjectCorrupt) as exc:
                log.warning("mux: who signed %s is not known: %s", key, exc)
                return UNKNOWN_SIGNER
            return read_signer(file, CONTENT_TYPES[VIDEO], self._seal.signer.chain if self._seal else None)

    def _published(
        self,
        task: MuxTask,
        video: PublishedFile,
        thumbnail: PublishedFile,
        sheet: PublishedFile,
        signed_by: SignedBy,
    ) -> list[Outgoing]:
        now_ms = self._now_ms()
        expires_at_ms = now_ms + self._kept_ms if self._kept_ms else None
        text = wording(task.plan.request.label, self._labels.profile).text
        return published(task, describe(task.plan, video, thumbnail, sheet, text, signed_by, expires_at_ms), now_ms)

    def _file(self, info: ObjectInfo) -> PublishedFile:
        return PublishedFile(
            uri=self._store.uri(info.key),
            key=info.key,
            sha256=info.sha256,
            size_bytes=info.size_bytes,
            content_type=info.content_type,
        )
