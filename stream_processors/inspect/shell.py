"""inspect at work: fetch the chunk, sample frames, ask the moderator, report."""

import logging
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ops.bus.burial import Unusable, told
from ops.bus.worker import run
from ops.crash_points import reached
from ops.media.chunk_file import UnreadableChunk
from ops.settings import Settings
from ops.storage.open import open_store
from ops.storage.store import ObjectCorrupt, ObjectInfo, ObjectMissing, Store
from schemas.codec import decode
from schemas.errors import Bug, Fatal, Poison, Transient
from schemas.records import Incoming, Outgoing
from schemas.topics import CHUNKS_INSPECTED, CHUNKS_RENDERED, CHUNKS_RENDERED_RETRY
from schemas.work import ChunkInspected, ChunkRendered, FrameVerdict, ObjectRef
from stream_processors.inspect import core
from stream_processors.inspect.frames import sampled_frames
from stream_processors.inspect.provider import FrameModerator, make_moderator

log = logging.getLogger(__name__)

CACHED_VERDICTS = 4096


class Inspector:
    """The stage's handler; call it with a record of chunks.rendered."""

    def __init__(self, store: Store, policy: core.Policy, moderator: FrameModerator) -> None:
        self._store = store
        self._moderator = moderator
        self._digest = core.policy_digest(policy)
        self._sample = partial(
            core.sample_indices,
            per_second=policy.frames_per_second,
            max_frames=policy.max_frames - policy.scene_changes,
        )
        self._scene_changes = policy.scene_changes
        self._verdicts: OrderedDict[tuple[str, str], FrameVerdict] = OrderedDict()
        self._remembered = False
        """The last verdict was one that was known: it says nothing of whether the moderator is in reach."""

    def __call__(self, record: Incoming) -> Sequence[Outgoing]:
        rendered = decode(ChunkRendered, record.value)
        return [Outgoing(CHUNKS_INSPECTED, rendered.job, self.inspect(rendered))]

    def give_up(self, record: Incoming, error: Unusable) -> Sequence[Outgoing]:
        """The chunk as a failed one, for a record that becomes a dead letter: dispatch asks again, or ends the job."""
        rendered = decode(ChunkRendered, record.value)
        if isinstance(error, Bug | Poison) and (ref := core.object_to_inspect(rendered)) is not None:
            try:
                # Left in place it would be adopted again, and do the same again.
                self._store.delete(ref.key)
            except Transient as exc:
                log.warning("chunk %d of %s: object not deleted: %s", rendered.index, rendered.job, exc)
        return [Outgoing(CHUNKS_INSPECTED, rendered.job, core.unusable(rendered, told("inspect", error), lost=False))]

    def proves(self, records: Sequence[Outgoing]) -> bool:
        """Whether what the last record led to shows that store and moderator are in reach. Were a known verdict to
        count, chunks that wait for a provider would be taken for the trouble, and their jobs would fail."""
        return proves(records) and not self._remembered

    def inspect(self, rendered: ChunkRendered) -> ChunkInspected:
        """The chunk with its verdict; a chunk whose object is missing or broken comes back as failed.

        Raises Transient when the store or the moderator gives no answer: the chunk waits, it never passes. Raises Fatal
        when a provider refuses our key, or its endpoint is none.
        """
        ref = core.object_to_inspect(rendered)
        if ref is None:
            return ChunkInspected(rendered=rendered)
        try:
            return ChunkInspected(rendered=rendered, verdict=self._verdict(ref, rendered.frames))
        except ObjectMissing:
            return core.unusable(rendered, "chunk object is missing")
        except _ObjectReplaced:
            # Sound, but not what this record is about: asked again, a worker adopts the object under its new hash.
            return core.unusable(rendered, "chunk object was replaced by another")
        except (ObjectCorrupt, UnreadableChunk) as exc:
            # Left in place it would be adopted again by whoever renders this chunk next (put is If-None-Match).
            self._store.delete(ref.key)
            log.warning("chunk %d of %s: object deleted: %s", rendered.index, rendered.job, exc)
            return core.unusable(rendered, f"chunk object is corrupt: {exc}")

    def _verdict(self, ref: ObjectRef, frames: int) -> FrameVerdict:
        place = (ref.sha256, self._digest)
        verdict = self._verdicts.get(place)
        self._remembered = verdict is not None
        if verdict is not None:
            # The verdict is known by content, but the object may be gone since.
            _same(self._store.head(ref.key), ref)
            self._verdicts.move_to_end(place)
            return verdict
        pictures = self._pictures(ref, frames)
        reached("inspect", "fetched")
        verdict = self._judge(pictures)
        reached("inspect", "judged")
        self._verdicts[place] = verdict
        if len(self._verdicts) > CACHED_VERDICTS:
            self._verdicts.popitem(last=False)
        return verdict

    def _pictures(self, ref: ObjectRef, frames: int) -> NDArray[np.uint8]:
        with tempfile.TemporaryDirectory(prefix="reelbus-inspect-") as folder:
            path = Path(folder) / "chunk.mkv"
            _same(self._store.fetch(ref.key, path), ref)
            return sampled_frames(path, frames, partial(self._sample, frames), self._scene_changes)

    def _judge(self, pictures: NDArray[np.uint8]) -> FrameVerdict:
        try:
            return self._moderator.judge(pictures)
        except (Fatal, Transient):
            raise  # Fatal: a key that the provider refuses, say; nothing will be judged with it
        except Exception as exc:
            # Whatever went wrong, it is not a verdict.
            raise Transient(f"moderator gave no answer: {type(exc).__name__}: {exc}") from exc


class _ObjectReplaced(Exception):
    """The stored object is sound, but another one than the record's."""


def _same(found: ObjectInfo | None, ref: ObjectRef) -> None:
    if found is None:
        raise ObjectMissing(f"no object {ref.key}")
    if found.sha256 != ref.sha256:
        raise _ObjectReplaced


def proves(records: Sequence[Outgoing]) -> bool:
    """Whether store and moderator were in reach: a chunk was judged. One that had failed before needs neither."""
    return any(isinstance(out.record, ChunkInspected) and out.record.verdict is not None for out in records)


def load_policy(path: Path) -> core.Policy:
    """The policy in a file. Raises Fatal when it is missing or wrong."""
    try:
        return core.parse_policy(path.read_text())
    except OSError as exc:
        raise Fatal(f"cannot read frame policy {path}: {exc.strerror}") from None


def main(settings: Settings) -> None:
    """Run the stage until it is told to stop."""
    file = Path(settings.frame_policy)
    policy = load_policy(file)
    inspector = Inspector(open_store(settings), policy, make_moderator(policy, file.parent, Path(settings.policy)))
    run(
        settings, "inspect", [CHUNKS_RENDERED], inspector,
        retry=CHUNKS_RENDERED_RETRY, proves=inspector.proves, give_up=inspector.give_up,
    )  # fmt: skip
