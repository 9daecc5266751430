"""inspect's shell: fetch the chunk, look at its frames, say so. Names and verdicts are the core's."""

from ops.storage.store import ObjectCorrupt, ObjectMissing
from schemas.errors import Transient
from schemas.records import Incoming, Outgoing
from schemas.topics import CHUNKS_INSPECTED
from schemas.work import ChunkInspected, ChunkRendered, FrameVerdict
from stream_processors.inspect import core
from tests.simulation.media import ChunkFile
from tests.simulation.process import Process
from tests.simulation.requests import DOUBTFUL, REFUSED_BY_FRAMES
from tests.simulation.worker import Handling


class Inspector:
    def __init__(self, process: Process) -> None:
        self._world, self._verdicts = process.world, dict[str, FrameVerdict]()

    def handle(self, record: Incoming) -> Handling:
        rendered: ChunkRendered = record.value
        inspected = yield from self._inspect(rendered)
        return [Outgoing(CHUNKS_INSPECTED, rendered.job, inspected)]

    def _inspect(self, rendered: ChunkRendered):  # type: ignore[no-untyped-def]
        store = self._world.store
        ref = core.object_to_inspect(rendered)
        if ref is None:
            return ChunkInspected(rendered=rendered)
        yield "inspect.fetch"
        try:
            if ref.sha256 in self._verdicts:
                info, verdict = store.head(ref.key), self._verdicts[ref.sha256]
                if info is None:
                    raise ObjectMissing(ref.key)
            else:
                info, file = store.fetch(ref.key)
                verdict = None if info.sha256 != ref.sha256 else self._judge(file, rendered.frames)
        except ObjectMissing:
            return core.unusable(rendered, "chunk object is missing")
        except ObjectCorrupt as exc:
            yield "inspect.delete"
            store.delete(ref.key)
            return core.unusable(rendered, f"chunk object is corrupt: {exc}")
        if info.sha256 != ref.sha256 or verdict is None:
            return core.unusable(rendered, "chunk object was replaced by another")
        self._verdicts[ref.sha256] = verdict
        return ChunkInspected(rendered=rendered, verdict=verdict)

    def _judge(self, file: ChunkFile, frames: int) -> FrameVerdict:
        if self._world.moderator_down:
            raise Transient("moderator gave no answer")
        if len(file.frames) != frames:
            raise ObjectCorrupt(f"{len(file.frames)} frames instead of {frames}")
        looked_at = core.sample_indices(frames, 10.0, 1.0, 8)
        seen = {REFUSED_BY_FRAMES: 1.0, DOUBTFUL: 0.3}
        scores = [seen.get(file.frames[i][1], 0.0) for i in looked_at]
        return core.combine([core.verdict_of(scores, 0.5, "fake", "sexual", review_from=0.2)])
