"""Tasks that only a broken or forged record can hold."""

import pytest
from msgspec.structs import replace

from gpu_consumers.render.checking import check_task
from schemas.codec import decode
from schemas.errors import InvalidMessage
from schemas.ids import chunk_id
from schemas.topics import CHUNKS
from schemas.work import ChunkTask
from tests.bad_input.mutations import seeds_of
from tests.fuzz.records import REGRESSIONS

TASKS = [decode(ChunkTask, raw) for raw in seeds_of(CHUNKS["cpu"])]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.index}")
def test_what_dispatch_writes_passes(task: ChunkTask) -> None:
    check_task(task)


def test_a_name_that_is_not_the_hash_of_its_spec_is_refused() -> None:
    for name in ("../../x", "a" * 64, ""):
        with pytest.raises(InvalidMessage, match="chunk_id"):
            check_task(replace(TASKS[0], chunk_id=name))


def test_a_predecessor_that_is_no_name_is_refused_under_a_right_hash_too() -> None:
    task = next(task for task in TASKS if task.spec.given_frames)
    for name in ("../x", "", "A" * 64, "a" * 64 + "\n"):
        spec = replace(task.spec, given_chunk=name)
        with pytest.raises(InvalidMessage, match="given_chunk"):
            check_task(replace(task, spec=spec, chunk_id=chunk_id(spec)))


@pytest.mark.parametrize("file", sorted((REGRESSIONS / "chunks.cpu").glob("*.bin")), ids=lambda file: file.stem)
def test_what_a_fuzzer_found_stays_refused(file) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidMessage):
        check_task(decode(ChunkTask, file.read_bytes()))
