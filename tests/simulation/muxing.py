"""mux's shell: fetch every chunk, thumbnail, contact sheet, video, then say so. Faults and frames are the core's."""

from ops.storage.store import ObjectCorrupt, ObjectInfo, ObjectMissing
from schemas.chunks import chunk_keys
from schemas.events import PublishedFile
from schemas.ids import video_object_key
from schemas.records import Incoming, Outgoing
from schemas.work import MuxTask
from stream_processors.mux.core import (
    UNSIGNED,
    ChunkFault,
    Picture,
    PlanBroken,
    ask_again,
    check_plan,
    describe,
    failed,
    published,
    timeline,
)
from tests.simulation.media import ChunkFile, VideoFile
from tests.simulation.process import Process
from tests.simulation.worker import Handling

THUMBNAIL, CONTACT_SHEET, VIDEO = "thumbnail.jpg", "contact-sheet.png", "video.mp4"


class Muxer:
    def __init__(self, process: Process) -> None:
        self._world, self._process = process.world, process

    def handle(self, record: Incoming) -> Handling:
        task: MuxTask = record.value
        try:
            check_plan(task.plan, len(task.ready))
        except PlanBroken as exc:
            return failed(task, str(exc), self._world.clock.wall_ms())
        yield "mux.head"
        infos = [self._world.store.head(video_object_key(task.plan.job, n)) for n in (VIDEO, THUMBNAIL, CONTACT_SHEET)]
        if all(info is not None for info in infos):
            return self._published(task, *(info for info in infos if info is not None))
        return (yield from self._make(task))

    def _make(self, task: MuxTask) -> Handling:
        files: list[ChunkFile] = []
        faults: list[ChunkFault] = []
        shas: list[str] = []
        size = task.plan.render.width_px, task.plan.render.height_px
        shift = 1 if "chunk index off by one" in self._world.bugs and len(task.ready) > 2 else 0
        for index, (key, ready) in enumerate(zip(chunk_keys(task.plan), task.ready, strict=True)):
            yield "mux.fetch"
            try:
                info, file = self._world.store.fetch(key)
            except ObjectMissing:
                faults.append(ChunkFault(index, "its object is gone"))
                continue
            except ObjectCorrupt as exc:
                faults.append((yield from self._discard(key, index, str(exc))))
                continue
            if info.sha256 != ready.sha256:
                faults.append(ChunkFault(index, f"its object is another one than was rendered: {info.sha256}"))
            elif file.size != size or len(file.frames) != task.plan.chunks[index].frames:
                faults.append((yield from self._discard(key, index, "not what the plan has")))
            files.append(file)
            shas.append(info.sha256)
        if faults and "faults are ignored" not in self._world.bugs:
            return ask_again(task, faults, self._world.clock.wall_ms())
        frames = tuple(self._shown(shown, files, shift) for shown in timeline(task.plan)) if files else ()
        video = VideoFile(frames, tuple(shas), self._process.worker_id)
        return (yield from self._publish(task, video))

    def _shown(self, shown, files, shift):  # type: ignore[no-untyped-def]
        first = self._frame(files, shown.picture, shift)
        return first if shown.into is None else (first, self._frame(files, shown.into, shift), shown.weight)

    @staticmethod
    def _frame(files: list[ChunkFile], picture: Picture, shift: int):  # type: ignore[no-untyped-def]
        frames = files[(picture.chunk + shift) % len(files)].frames
        return frames[picture.frame % len(frames)]

    def _discard(self, key: str, chunk: int, reason: str):  # type: ignore[no-untyped-def]
        yield "mux.delete"
        self._world.store.delete(key)
        return ChunkFault(chunk, reason)

    def _publish(self, task: MuxTask, video: VideoFile) -> Handling:
        infos = {}
        for name in (THUMBNAIL, CONTACT_SHEET, VIDEO):
            yield f"mux.put {name}"
            content = video if name == VIDEO else (name, task.plan.fingerprint)
            _, infos[name] = self._world.put(video_object_key(task.plan.job, name), content)
        return self._published(task, infos[VIDEO], infos[THUMBNAIL], infos[CONTACT_SHEET])

    def _published(self, task: MuxTask, *infos: ObjectInfo) -> list[Outgoing]:
        now_ms = self._world.clock.wall_ms()
        video, thumbnail, sheet = (_file(info) for info in infos)
        return published(task, describe(task.plan, video, thumbnail, sheet, "AI", UNSIGNED, None), now_ms)


def _file(info: ObjectInfo) -> PublishedFile:
    return PublishedFile(
        uri=f"sim:{info.key}",
        key=info.key,
        sha256=info.sha256,
        size_bytes=info.size_bytes,
        content_type=info.content_type,
    )
