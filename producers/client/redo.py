"""The same video once more, but for a shot or a chunk of it. Pure.

An ended job's id stays spent and a chunk's name is the hash of its spec, so a redo is a new job whose request equals
the old one with all seeds written down: every other chunk is found in the store under its name.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from schemas.errors import InvalidMessage
from schemas.ids import fingerprint, job_key, seed_of
from schemas.request import ChunkSeed, JobRequest, Shot

MARK_CHARACTERS = 12
LONGEST_ID = 128


def seeds_of(request: JobRequest) -> tuple[int, ...]:
    """Seed of every shot of a request, as the pipeline derives those that are not given."""
    key = job_key(request.tenant, request.job_id)
    return tuple(
        seed_of(key, str(index)) if shot.seed is None else shot.seed for index, shot in enumerate(request.shots)
    )


def redone(
    request: JobRequest,
    shot: int,
    chunk: int | None = None,
    *,
    seed: int | None = None,
    job_id: str = "",
    seeds: Sequence[int] = (),
) -> JobRequest:
    """The request of the redo: without deadline and batch, which belonged to the first one.

    request: of the job whose video there is
    shot:    0-based index of the shot that is rendered again, or of the shot of `chunk`
    chunk:   0-based index within the shot; None: all of the shot
    seed:    the new one; derived from job, shot and chunk if left out, so the same call again is the same job
    job_id:  of the new job; made from the old one's and what is redone if left out
    seeds:   of the shots, as the result of the job tells them; as they are derived from the request if left out
    Raises InvalidMessage that names what is wrong.
    """
    shots = len(request.shots)
    if not 0 <= shot < shots:
        raise InvalidMessage(f"shot: found {shot}; job {request.job_id} has the shots 0 to {shots - 1}")
    if seeds and len(seeds) != shots:
        raise InvalidMessage(f"seeds: found {len(seeds)}; job {request.job_id} has {shots} shots")
    known = tuple(seeds) or seeds_of(request)
    new_seed = _derived(request, known, shot, chunk) if seed is None else seed
    fixed = [replace(each, seed=known[index]) for index, each in enumerate(request.shots)]
    fixed[shot] = _changed(fixed[shot], chunk, new_seed)
    made = replace(request, shots=tuple(fixed), deadline_ms=None, batch_id=None)
    if made.shots == tuple(replace(each, seed=known[index]) for index, each in enumerate(request.shots)):
        raise InvalidMessage(f"seed: found {new_seed}, which the job has already; give another one")
    if job_id == request.job_id:
        raise InvalidMessage(f'job_id: found "{job_id}", the id of the job itself, which is spent; give another one')
    if not job_id:
        mark = fingerprint(made)[:MARK_CHARACTERS]
        job_id = f"{request.job_id[: LONGEST_ID - MARK_CHARACTERS - 6]}-redo-{mark}"
    return replace(made, job_id=job_id)


def _derived(request: JobRequest, known: Sequence[int], shot: int, chunk: int | None) -> int:
    what = (job_key(request.tenant, request.job_id), "redo", str(shot), "" if chunk is None else str(chunk))
    seed = seed_of(*what)
    return seed if seed != known[shot] else seed_of(*what, "another")


def _changed(shot: Shot, chunk: int | None, seed: int) -> Shot:
    """A whole shot gets the seed, and chunks of it none of their own any more."""
    if chunk is None:
        return replace(shot, seed=seed, chunk_seeds=())
    if chunk < 0:
        raise InvalidMessage(f"chunk: found {chunk}; chunks are counted from 0 within their shot")
    others = tuple(given for given in shot.chunk_seeds if given.chunk != chunk)
    made = sorted((*others, ChunkSeed(chunk=chunk, seed=seed)), key=lambda given: given.chunk)
    return replace(shot, chunk_seeds=tuple(made))
