"""Chunks in the object store: is it there, what does it start from, put it there. Runs in threads of the parent."""

import logging

from gpu_consumers.render.actions import Later, Outcome, Reuse, Unusable, Usable
from gpu_consumers.render.scratch import Scratch, read_frames, write_frames
from ops.crash_points import reached
from ops.media import chunk_file
from ops.storage.store import ObjectCorrupt, ObjectInfo, ObjectMissing, PutOutcome, Store
from ops.storage.transfer import disk_errors
from schemas.chunks import given_object_key
from schemas.errors import Transient
from schemas.ids import chunk_object_key
from schemas.plan import ChunkSpec
from schemas.work import ChunkTask, ObjectRef

log = logging.getLogger(__name__)


class ChunkObjects:
    """Scratch files are named after the ticket: `<ticket>.<what>`."""

    def __init__(self, store: Store, scratch: Scratch) -> None:
        self._store, self._scratch = store, scratch

    def prepare(self, ticket: int, task: ChunkTask) -> Outcome:
        """Reuse what is there, or fetch what the chunk starts from. A store that gives no answer: Later."""
        try:
            with disk_errors("render scratch"):
                if (ref := self._existing(ticket, task)) is not None:
                    return Reuse(ref)
                return self._given(ticket, task.spec) if task.spec.given_frames else Usable("")
        except Transient as exc:
            log.warning("chunk %s of %s: %s; trying again", task.index, task.job, exc)
            return Later(str(exc))

    def put(self, ticket: int, task: ChunkTask, frames: str, codec: chunk_file.ChunkCodec) -> ObjectRef:
        """Encode and put. When somebody was faster, theirs is the chunk (same spec, so as good as ours). Raises
        Transient."""
        spec = task.spec
        path = self._scratch.path(f"{ticket}.encoded.mkv")
        path.unlink(missing_ok=True)
        pixels = read_frames(self._scratch.path(frames), spec.frames, spec.height_px, spec.width_px)
        with disk_errors("render scratch"):
            chunk_file.encode(pixels, spec.fps, codec, path)
        reached("render", "encoded")
        key = chunk_object_key(spec.tenant, task.chunk_id)
        outcome, info = self._store.put(key, path, chunk_file.CONTENT_TYPE)
        if outcome is PutOutcome.EXISTED:
            log.info("chunk %s of %s: adopted the object that was there", task.index, task.job)
        return _ref(info)

    def _existing(self, ticket: int, task: ChunkTask) -> ObjectRef | None:
        """The chunk's object. A task that is repeated may have been, because its object is broken: then it is read and
        decoded, and removed if it is, for otherwise the next put would adopt it again."""
        key = chunk_object_key(task.spec.tenant, task.chunk_id)
        info = self._store.head(key)
        if info is None or task.attempt <= 1:
            return None if info is None else _ref(info)
        path = self._scratch.path(f"{ticket}.existing.mkv")
        try:
            info = self._store.fetch(key, path)
            if (found := chunk_file.count(path)) != task.spec.frames:
                raise chunk_file.UnreadableChunk(f"it has {found} frames, {task.spec.frames} are needed")
            return _ref(info)
        except ObjectMissing:
            return None
        except (ObjectCorrupt, chunk_file.UnreadableChunk) as exc:
            log.warning("chunk %s of %s: stored object removed: %s", task.index, task.job, exc)
            self._store.delete(key)
            return None
        finally:
            path.unlink(missing_ok=True)

    def _given(self, ticket: int, spec: ChunkSpec) -> Outcome:
        key = given_object_key(spec)
        path = self._scratch.path(f"{ticket}.given.mkv")
        try:
            self._store.fetch(key, path)
            frames = chunk_file.tail(path, spec.given_frames)
        except ObjectMissing:
            return Unusable(f"given chunk missing: there is no object {key}", given_lost=True)
        except (ObjectCorrupt, chunk_file.UnreadableChunk) as exc:
            # dispatch plans the predecessor anew; left in place, the broken object would be found again.
            self._store.delete(key)
            return Unusable(f"given chunk missing: object {key} was corrupt and is removed: {exc}", given_lost=True)
        finally:
            path.unlink(missing_ok=True)
        if frames.shape[1:3] != (spec.height_px, spec.width_px):
            size = f"{frames.shape[2]}x{frames.shape[1]}"
            return Unusable(f"given chunk {spec.given_chunk} is {size}, the chunk {spec.width_px}x{spec.height_px}")
        name = f"{ticket}.given.rgb"
        write_frames(self._scratch.path(name), frames)
        return Usable(name)


def _ref(info: ObjectInfo) -> ObjectRef:
    return ObjectRef(key=info.key, sha256=info.sha256, size_bytes=info.size_bytes)
