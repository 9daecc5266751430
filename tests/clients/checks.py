"""What a program says, held against what the pipeline and the store say. Each check returns faults, as sentences."""

import hashlib
import re

from ops.settings import Settings
from ops.storage.open import open_store
from producers.client import Operator
from schemas.events import JobState
from schemas.ids import job_key, video_object_key
from tests.clients.commands import Ended
from tests.clients.pipeline import OUTPUT
from tests.clients.programs import Program

DURATION_S = 1
BAD_DURATION_S, BAD_FIELD = 0, "shots[0].duration_s"
TRACE = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01")


def faults_of_success(program: Program, job_id: str, ended: Ended, settings: Settings) -> list[str]:
    """It says ok and the hash of the bytes that are in the store, and the video is what was asked for."""
    if ended.status != 0:
        return [f"a good request: {ended.last_words()}"]
    state = _state(settings, job_id)
    if state is None or state.video is None:
        return [f"a good request: the job has no video: {state}"]
    # By the key that a job's video has, and not by the uri that the program was told.
    file = open_store(settings).read(video_object_key(job_key("default", job_id), "video.mp4"))
    right = f"ok {job_id} {hashlib.sha256(file).hexdigest()} {len(file)}"
    faults = [] if right in ended.stdout.splitlines() else [f"it should say {right!r}; {ended.last_words()}"]
    video, wanted = state.video, (OUTPUT.width_px, OUTPUT.height_px, OUTPUT.fps, DURATION_S * OUTPUT.fps)
    if (video.width_px, video.height_px, video.fps, video.frames) != wanted:
        faults.append(f"the video is not what was asked for: {video}")
    return faults + _faults_of_headers(program, job_id, state)


def faults_of_refusal(program: Program, job_id: str, ended: Ended, settings: Settings) -> list[str]:
    """It ends with an error and a sentence that names the field; and it was the pipeline that refused."""
    faults = []
    if not ended.status or BAD_FIELD not in ended.stderr:
        faults.append(f"a bad request: it should fail and name {BAD_FIELD}; {ended.last_words()}")
    state = _state(settings, job_id)
    if state is None or state.reason is None or (state.state, state.reason.field) != ("rejected", BAD_FIELD):
        return [*faults, f"a bad request: the pipeline did not refuse it: {state}"]
    return faults + _faults_of_headers(program, job_id, state)


def faults_of_wrong_hash(job_id: str, ended: Ended) -> list[str]:
    """It ends with an error that is about this job, and does not say ok."""
    if ended.status and job_id in ended.stderr and not ended.stdout.startswith("ok"):
        return []
    return [f"a result with another sha256: it should fail and say so; {ended.last_words()}"]


def _faults_of_headers(program: Program, job_id: str, state: JobState) -> list[str]:
    """CloudEvents and trace headers arrived, and the encoding is the one that the program is here to prove."""
    origin = state.origin
    found = (origin.format, origin.ce_id, origin.ce_source, bool(TRACE.fullmatch(origin.traceparent)))
    wanted = (program.format, job_id, f"/examples/{program.name}", True)
    return [] if found == wanted else [f"{job_id} came in as {origin}; expected {wanted}"]


def _state(settings: Settings, job_id: str) -> JobState | None:
    with Operator(settings) as operator:
        return operator.state(job_id)
