"""Texts and frames that moderation leaves to a person, and the erasure of what was made, through the real pipeline and
its command line; dispatch is killed while a job waits."""

import json
import logging
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from PIL import Image
from typer.testing import CliRunner

from ops import topics_admin
from ops.bus import audit
from ops.cli.app import app
from ops.local.kafka import LocalKafka
from ops.local.supervisor import Supervisor
from ops.reviews import open_cases
from ops.settings import Settings
from ops.stages import STAGES
from ops.storage.open import open_store
from producers.client import Operator
from schemas.reviews import ReviewCase, name_of
from tests.e2e.fake_model import REGISTRY

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]

log = logging.getLogger(__name__)
PATIENCE_S = 240.0
EVERYTHING = """
frames_per_second = 1.0
max_frames = 2
[[providers]]
name = "opennsfw"
threshold = 0.99
review_from = 1e-9
"""
"""Leaves every chunk to a person."""


def prompt_policy() -> str:
    """The shipped one, by terms alone, with a band that people decide."""
    file = Path(Settings().policy)
    text = file.read_text().replace('"packs/', f'"{file.parent}/packs/').replace('"all-MiniLM-L6-v2"', '"off"')
    asked = text.replace('refuse_from = "medium"', 'refuse_from = "medium"\nreview_terms_from = "low"')
    assert asked != text
    return asked


@pytest.fixture(scope="module")
def stack(broker: LocalKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Supervisor]]:
    folder = tmp_path_factory.mktemp("review")
    (folder / "registry.toml").write_text(REGISTRY)
    (folder / "frames.toml").write_text(EVERYTHING)
    (folder / "prompts.toml").write_text(prompt_policy())
    made = Settings(
        bootstrap_servers=broker.bootstrap_servers,
        prefix="review",
        store=str(folder / "store"),
        data_dir=str(folder),
        registry=str(folder / "registry.toml"),
        policy=str(folder / "prompts.toml"),
        frame_policy=str(folder / "frames.toml"),
    )
    topics_admin.apply(made, topics_admin.plan(made))
    with Supervisor([(name, 1) for name in STAGES if name != "notify"], made, report=log.info) as supervisor:
        yield made, supervisor


def submit(settings: Settings, job_id: str, prompt: str = "a ball", **more: object) -> None:
    shot = {"prompt": prompt, "duration_s": 1, "seed": 7}
    with Operator(settings) as operator:
        operator.submit({
            "job_id": job_id, "model": "fake", "shots": [shot],
            "output": {"width_px": 64, "height_px": 64, "fps": 24}, **more,
        })  # fmt: skip


def case_of(settings: Settings, job: str, other_than: ReviewCase | None = None) -> ReviewCase | None:
    """What waits of a job, once it is something new; None: the job has ended."""

    def found() -> ReviewCase | bool:
        for case in open_cases(settings):
            if case.job == job and case != other_than:
                return case
        with Operator(settings) as operator:
            state = operator.state(job)
        return state is not None and state.state in ("completed", "rejected")

    case = until(found)
    return case if isinstance(case, ReviewCase) else None


def until(found: Callable[[], object]) -> object:
    deadline = time.monotonic() + PATIENCE_S
    while not (what := found()):
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.2)
    return what


def approve_all(settings: Settings, job: str) -> int:
    """Approves whatever waits of a job until it ends. Returns how many chunks that were."""
    seen, case = 0, case_of(settings, job)
    while case is not None:
        seen += len(case.chunks)
        assert decide(settings, "approve", job, case, "a ball is a ball")[0] == 0
        case = case_of(settings, job, other_than=case)
    return seen


def decide(settings: Settings, verdict: str, job: str, case: ReviewCase, reason: str) -> tuple[int, str]:
    return command(settings, verdict, job, "--case", name_of(case), "--reason", reason, "--by", "grace")


def command(settings: Settings, *arguments: str, of: str = "review") -> tuple[int, str]:
    done = CliRunner().invoke(app, [of, *arguments], env={**settings.environment(), "COLUMNS": "200"})
    return done.exit_code, done.stdout


def trail(settings: Settings, job: str) -> list[tuple[str, str, str]]:
    found = [entry for _, _, entry in audit.entries(settings) if entry is not None and entry.job == job]
    return [(entry.kind, entry.by, entry.why) for entry in found]


def test_a_job_waits_through_a_kill_and_is_finished_once_a_person_has_seen_every_chunk(
    stack: tuple[Settings, Supervisor], tmp_path: Path
) -> None:
    settings, supervisor = stack
    submit(settings, "film")
    case = case_of(settings, "default/film")
    assert case is not None
    assert supervisor.kill("dispatch", signal.SIGKILL) is not None
    code, said = command(settings, "list", "--json")
    assert (code, json.loads(said)["job"]) == (0, "default/film")
    code, said = command(settings, "show", "film", "--frames", str(tmp_path / "frames"))
    assert code == 0
    assert "a ball" in said
    pictures = sorted((tmp_path / "frames" / "default" / "film").glob("0-*.png"))
    assert len(pictures) == 16
    assert Image.open(pictures[0]).size == (64, 64)
    assert decide(settings, "approve", "film", replace(case, chunks=()), "unseen")[0] == 1
    assert approve_all(settings, "default/film") == 2
    with Operator(settings) as operator:
        state = operator.state("film")
    assert state is not None
    assert state.state == "completed"
    assert trail(settings, "default/film") == [
        ("accepted", "", ""),
        ("review", "", ""), ("approved", "grace", "a ball is a ball"),
        ("review", "", ""), ("approved", "grace", "a ball is a ball"),
        ("published", "", ""),
    ]  # fmt: skip
    assert decide(settings, "approve", "film", case, "again")[0] == 1, "it does not wait any more"


def test_a_job_whose_frames_a_person_refuses_ends_and_its_caller_is_not_told_who_or_why(
    stack: tuple[Settings, Supervisor],
) -> None:
    settings, _ = stack
    submit(settings, "other-film")
    case = case_of(settings, "default/other-film")
    assert case is not None
    assert decide(settings, "refuse", "other-film", case, " ")[0] == 2
    assert decide(settings, "refuse", "other-film", case, "not on our watch")[0] == 0
    assert case_of(settings, "default/other-film", other_than=case) is None
    with Operator(settings) as operator:
        state = operator.state("other-film")
        ended = next(one for one in operator.results(follow=False) if one.job == "default/other-film")
    assert state is not None
    assert (state.state, state.reason and state.reason.code) == ("rejected", "frames_refused")
    assert "grace" not in str(ended)
    assert "watch" not in str(ended)
    assert trail(settings, "default/other-film")[-1] == ("refused", "grace", "not on our watch")
    assert open_cases(settings) == []


def test_texts_are_read_by_a_person_before_anything_is_rendered(stack: tuple[Settings, Supervisor]) -> None:
    settings, supervisor = stack
    code, said = command(settings, "--prompt", "two people kissing", "--model", "fake", "--json", of="quote")
    assert (code, json.loads(said)["review"]) == (0, [{"field": "shots[0].prompt", "category": "sexual"}])
    submit(settings, "kiss", "two people kissing")
    case = case_of(settings, "default/kiss")
    assert case is not None
    assert (case.chunks, [text.text for text in case.texts]) == ((), ["two people kissing"])
    assert supervisor.kill("dispatch", signal.SIGKILL) is not None
    code, said = command(settings, "show", "kiss")
    assert code == 0
    assert all(word in said for word in ("two people kissing", "sexual", "term"))
    with Operator(settings) as operator:
        until(lambda: (state := operator.state("kiss")) is not None and state.state == "queued")
        state = operator.state("kiss")
    assert state is not None
    assert state.timeline.started_at_ms == 0
    assert state.progress is not None
    assert state.progress.stopped == "texts wait for a review"
    assert decide(settings, "approve", "kiss", replace(case, texts_sha256="f" * 64), "unread")[0] == 1
    assert decide(settings, "approve", "kiss", case, "a wedding")[0] == 0
    frames = case_of(settings, "default/kiss", other_than=case)
    assert frames is not None
    assert frames.chunks
    assert approve_all(settings, "default/kiss")
    with Operator(settings) as operator:
        state = operator.state("kiss")
    assert state is not None
    assert (state.state, state.prompts and state.prompts.verdict) == ("completed", "allow")
    assert trail(settings, "default/kiss")[:3] == [
        ("accepted", "", ""), ("review", "", ""), ("approved", "grace", "a wedding"),
    ]  # fmt: skip


def test_texts_that_a_person_refuses_end_the_job_unrendered(stack: tuple[Settings, Supervisor]) -> None:
    settings, _ = stack
    submit(settings, "other-kiss", "two people kissing")
    case = case_of(settings, "default/other-kiss")
    assert case is not None
    assert decide(settings, "refuse", "other-kiss", case, "not on our watch")[0] == 0
    assert case_of(settings, "default/other-kiss", other_than=case) is None
    with Operator(settings) as operator:
        state = operator.state("other-kiss")
    assert state is not None
    assert state.reason is not None
    assert (state.state, state.reason.code, state.timeline.started_at_ms) == ("rejected", "prompt_refused", 0)
    assert not {"grace", "watch", "kissing"} & set(str(state).replace("'", " ").split())
    assert trail(settings, "default/other-kiss")[-1] == ("refused", "grace", "not on our watch")


def test_what_was_made_for_a_person_is_erased_and_so_is_what_its_caller_said(
    stack: tuple[Settings, Supervisor],
) -> None:
    settings, _ = stack
    for name in ("refused", "done", "waiting"):
        submit(settings, name, metadata={"user": "4711"})
    submit(settings, "another", metadata={"user": "1"})
    approve_all(settings, "default/done")
    found = {name: case_of(settings, f"default/{name}") for name in ("refused", "waiting", "another")}
    assert all(found.values())
    assert decide(settings, "refuse", "refused", found["refused"], "no")[0] == 0  # type: ignore[arg-type]
    person = ("default", "--metadata", "user=4711")
    mine = {f"default/{name}" for name in ("refused", "done", "waiting")}
    code, said = command(settings, *person, "--reason", "asked to", "--dry-run", of="erase")
    assert (code, set(said.split())) == (0, mine)
    with Operator(settings) as operator:
        video = operator.state("done")
        assert video is not None
        assert video.video is not None
        code, said = command(settings, *person, "--reason", "asked to", of="erase")
        assert (code, set(said.split())) == (0, mine)
        until(lambda: all(operator.state(job).state == "deleted" for job in mine))  # type: ignore[union-attr]
        states = {job: operator.state(job) for job in mine}
        other = operator.state("another")
    for one in states.values():
        assert one is not None
        assert (one.metadata, one.video, one.reason and one.reason.code) == ({}, None, "erased")
        assert "asked to" not in str(one)
    assert other is not None
    assert other.metadata == {"user": "1"}
    assert open_store(settings).head(video.video.file.key) is None
    (kind, by, why) = trail(settings, "default/done")[-1]
    assert (kind, why) == ("deleted", "asked to")
    assert by
    assert command(settings, *person, "--reason", "once more", of="erase") == (0, "")
