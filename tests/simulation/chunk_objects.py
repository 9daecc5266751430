"""gpu_consumers.render.objects: is the chunk there, what does it start from, put it there."""

from collections.abc import Generator
from typing import TYPE_CHECKING

from gpu_consumers.render import actions as act
from ops.storage.store import ObjectCorrupt, ObjectInfo, ObjectMissing
from schemas.errors import Transient
from schemas.ids import chunk_object_key
from schemas.plan import ChunkSpec
from schemas.work import ChunkTask, ObjectRef
from tests.simulation.device import Scratch
from tests.simulation.media import ChunkFile

if TYPE_CHECKING:
    from tests.simulation.world import World


class ChunkObjects:
    def __init__(self, world: "World", scratch: Scratch) -> None:
        self._world, self._store, self._scratch = world, world.store, scratch

    def prepare(self, ticket: int, task: ChunkTask) -> Generator[str, None, act.Outcome]:
        """Reuse what is there, or fetch what the chunk starts from. A store that gives no answer: Later."""
        try:
            if (ref := (yield from self._existing(task))) is not None:
                return act.Reuse(ref)
            return (yield from self._given(ticket, task.spec)) if task.spec.given_frames else act.Usable("")
        except Transient as exc:
            return act.Later(str(exc))

    def put(self, task: ChunkTask, frames: str) -> Generator[str, None, ObjectRef]:
        """When somebody was faster, theirs is the chunk. Raises Transient."""
        yield "render.put"
        file = self._scratch[frames]
        assert isinstance(file, ChunkFile)
        _, info = self._world.put(chunk_object_key(task.spec.tenant, task.chunk_id), file)
        return _ref(info)

    def _existing(self, task: ChunkTask) -> Generator[str, None, ObjectRef | None]:
        """On a later attempt the object is read before it is reused, and removed if it is broken."""
        key = chunk_object_key(task.spec.tenant, task.chunk_id)
        yield "render.head"
        info = self._store.head(key)
        if info is None or task.attempt <= 1:
            return None if info is None else _ref(info)
        yield "render.fetch"
        try:
            info, file = self._store.fetch(key)
            if len(file.frames) != task.spec.frames:
                raise ObjectCorrupt(f"{len(file.frames)} frames")
            return _ref(info)
        except ObjectMissing:
            return None
        except ObjectCorrupt:
            yield "render.delete"
            self._store.delete(key)
            return None

    def _given(self, ticket: int, spec: ChunkSpec) -> Generator[str, None, act.Outcome]:
        key = chunk_object_key(spec.tenant, spec.given_chunk)
        yield "render.fetch given"
        try:
            _, file = self._store.fetch(key)
        except ObjectMissing:
            return act.Unusable(f"given chunk missing: there is no object {key}", given_lost=True)
        except ObjectCorrupt as exc:
            yield "render.delete given"
            self._store.delete(key)
            return act.Unusable(f"given chunk missing: object {key} was corrupt and is removed: {exc}", given_lost=True)
        self._scratch[f"{ticket}.given.rgb"] = file.frames[-spec.given_frames :]
        return act.Usable(f"{ticket}.given.rgb")


def _ref(info: ObjectInfo) -> ObjectRef:
    return ObjectRef(key=info.key, sha256=info.sha256, size_bytes=info.size_bytes)
