"""What dispatch never writes, and what would end the worker if it came: names become object keys. Pure."""

from schemas.errors import InvalidMessage
from schemas.ids import chunk_id, is_chunk_id
from schemas.work import ChunkTask


def check_task(task: ChunkTask) -> None:
    """Raises InvalidMessage that names the field."""
    if task.chunk_id != (right := chunk_id(task.spec)):
        raise InvalidMessage(f"chunk_id: {task.chunk_id[:80]!r}; the hash of this spec is {right}")
    if task.spec.given_frames and not is_chunk_id(task.spec.given_chunk):
        given = task.spec.given_chunk[:80]
        raise InvalidMessage(f"spec.given_chunk: {given!r}; expected the name of a chunk, 64 hex digits")
