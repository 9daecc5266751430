"""Nothing that a moderation service does, short of a sound answer, lets a video out: 1,000 jobs through the real
Inspector, the real adapters and a real server on this machine."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from ops.settings import Settings
from ops.storage.open import open_store
from schemas.codec import encode
from schemas.errors import Fatal, Transient
from schemas.ids import chunk_object_key
from schemas.records import Incoming
from schemas.work import ChunkInspected, ChunkRendered, ObjectRef
from stream_processors.inspect.provider import make_moderator
from stream_processors.inspect.services import openai
from stream_processors.inspect.services.outcome import Unanswered
from stream_processors.inspect.services.post import MAX_ANSWER_BYTES
from stream_processors.inspect.shell import Inspector
from tests.core.test_inspect_services import AZURE_NONSENSE, OPENAI_NONSENSE, REKOGNITION_NONSENSE
from tests.flow.moderated import PICTURE, SERVICES, SOUND, policy_of
from tests.flow.moderated import server as server
from tests.hostile import moderation_server as served
from tests.hostile.moderation_server import Behave, Server, says, status

NONSENSE: dict[str, dict[str, Any]] = {
    "openai": OPENAI_NONSENSE, "azure": AZURE_NONSENSE, "rekognition": REKOGNITION_NONSENSE,
}  # fmt: skip
SLOW: tuple[Behave, ...] = (served.hangs, served.drips_body, served.drips_headers)
KEY = chunk_object_key("default", "c" * 64)


def nasty(service: str, elsewhere: str) -> list[Behave]:
    """What a service may do instead of answering soundly, but for being slow."""
    sound = json.dumps(SOUND[service]).encode()
    padded = sound[:-1] + b" " * MAX_ANSWER_BYTES + b"}"
    with_200 = [says(json.dumps(value).encode()) for value in NONSENSE[service].values()]
    refusals = [status(code) for code in (400, 401, 403, 404, 408, 413, 429, 500, 502, 503)]
    moved = [status(code, b"", Location=elsewhere) for code in (301, 302, 303, 307, 308)]
    disguised = [
        lambda handler: handler.answer(200, sound, Content_Type="text/html"),
        lambda handler: handler.answer(200, sound, Content_Encoding="gzip"),
        lambda handler: handler.answer(206, sound),
        lambda handler: handler.answer(202, sound),
    ]
    broken = [says(body) for body in (b"", b"<html>OK</html>", sound[:-1], sound[: len(sound) // 2], padded, b"\xff")]
    cut_off = [served.breaks_off(sound[:-1]), served.hangs_up, served.floods]
    return [*with_200, *refusals, *moved, *disguised, *broken, *cut_off]


def lie(service: str) -> Behave:
    """It says that all is well beside a score that says otherwise."""
    flags = dict.fromkeys(served.CATEGORIES, False)
    well = served.openai_result(scores={"sexual": 0.99}) | {"flagged": False, "categories": flags}
    hidden = (("Explicit", "", 1, 99.0), ("Alcohol", "Explicit", 2, 99.0))
    lies = {
        "openai": served.openai(well),
        "azure": served.azure(Sexual=6) | {"flagged": False},
        "rekognition": served.rekognition(*hidden),
    }
    return says(lies[service])


def chunk_records(folder: Path, jobs: int) -> tuple[Any, list[Incoming]]:
    """A store with one chunk, and a record about it for each of many jobs."""
    with av.open(str(folder / "c.mkv"), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=8)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = 90, 160, "bgr0"
        for number in range(2):
            frame = av.VideoFrame.from_ndarray(PICTURE, format="rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = number, Fraction(1, 8)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    store = open_store(Settings(store=str(folder / "store")))
    _, info = store.put(KEY, (folder / "c.mkv").read_bytes(), "video/x-matroska")
    ref = ObjectRef(key=KEY, sha256=info.sha256, size_bytes=info.size_bytes)
    told = [
        ChunkRendered(job=f"default/j{number}", index=0, attempt=1, chunk_id="c" * 64, pool="cpu", worker_id="w",
                      status="rendered", object=ref, frames=2)
        for number in range(jobs)
    ]  # fmt: skip
    return store, [Incoming("t", 0, at, one.job.encode(), encode(one), (), 0) for at, one in enumerate(told)]


def outcome(inspector: Inspector, record: Incoming) -> str:
    """The verdict of a record, or what became of it without one."""
    try:
        (out,) = inspector(record)
    except (Transient, Fatal) as exc:
        return type(exc).__name__
    assert isinstance(out.record, ChunkInspected)
    return out.record.verdict.verdict if out.record.verdict is not None else "none"


def run_nasty_jobs(server: Server, folder: Path, jobs: dict[str, int], slow_jobs: int) -> list[str]:
    """What became of each of so many jobs per service, one behaviour after the other. Of a service `slow_jobs` are met
    by a slow server."""
    store, records = chunk_records(folder, sum(jobs.values()))
    waiting, outcomes = iter(records), []
    for service, share in jobs.items():
        quick = [*nasty(service, f"{server.url}/sound"), lie(service)]
        for behaviours, count, timeout_s in ((quick, share - slow_jobs, 10.0), (SLOW, slow_jobs, 0.1)):
            policy = policy_of(server, service, folder, timeout_s=timeout_s, breaker_failures=10_000)
            moderator = make_moderator(policy, folder)
            for number in range(count):
                server.always = behaviours[number % len(behaviours)]
                # A new one each time: a block is remembered, and the service would not be asked any more.
                outcomes.append(outcome(Inspector(store, policy, moderator), next(waiting)))
    return outcomes


JOBS = {"openai": 400, "azure": 300, "rekognition": 300}


def test_a_service_that_times_out_lies_or_answers_nonsense_releases_none_of_1000_jobs(
    server: Server, tmp_path: Path, record_property: Any
) -> None:
    outcomes = run_nasty_jobs(server, tmp_path, JOBS, slow_jobs=30)
    counted = {kind: outcomes.count(kind) for kind in sorted(set(outcomes))}
    record_property("outcomes", counted)
    print(f"{len(outcomes)} jobs at nasty moderation services: {counted}")
    assert len(outcomes) == 1000
    assert counted.keys() <= {"Unanswered", "Transient", "Fatal", "block"}
    assert outcomes.count("allow") == 0
    assert len(server.asked) >= 990, "they were all asked, not spared by the breaker"
    assert counted["block"] > 10, "a high score beside a false flag blocks"


def test_the_same_trial_catches_a_parser_that_takes_nonsense_for_a_clean_answer(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seeded bug: without it the trial could not fail."""

    strict = openai.parse

    def lenient(body: bytes) -> dict[str, float]:
        try:
            return strict(body)
        except Unanswered:
            return {}

    monkeypatch.setattr(openai, "parse", lenient)
    assert run_nasty_jobs(server, tmp_path, {"openai": 20}, slow_jobs=0).count("allow") == 20


def test_a_sound_service_in_the_same_trial_releases(server: Server, tmp_path: Path) -> None:
    store, (record,) = chunk_records(tmp_path, 1)
    for service in SERVICES:
        policy = policy_of(server, service, tmp_path)
        server.always = says(SOUND[service])
        assert outcome(Inspector(store, policy, make_moderator(policy, tmp_path)), record) == "allow"


def test_a_known_verdict_does_not_speak_for_the_service(server: Server, tmp_path: Path) -> None:
    """Or the chunks that wait for it would be taken for the trouble, and their jobs would end."""
    store, (first, second) = chunk_records(tmp_path, 2)
    policy = policy_of(server, "azure", tmp_path)
    inspector = Inspector(store, policy, make_moderator(policy, tmp_path))
    server.always = says(SOUND["azure"])
    assert inspector.proves(inspector(first))
    server.always = status(503)
    known = inspector(second)
    assert not inspector.proves(known)
    assert isinstance(known[0].record, ChunkInspected)
    assert known[0].record.verdict is not None
