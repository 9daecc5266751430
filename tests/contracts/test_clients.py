"""What `make clients` runs is all there is, pinned and documented. No service is started."""

import json
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from ops.settings import PACKAGE_ROOT
from schemas.events import JobReply
from tests.clients import altered, checks
from tests.clients.commands import Ended, run
from tests.clients.programs import EXAMPLES, PROGRAMS, Program, arguments, commands, filled
from tests.contracts import goldens

OURS = {"python"}
"""Run by tests/e2e/test_client.py: they use the SDK."""


def test_every_example_is_run_and_listed() -> None:
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert {program.name for program in PROGRAMS} == folders - OURS
    page = (EXAMPLES / "README.md").read_text()
    assert {name for name in folders if f"\n| [{name}](" in page} == folders


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_program_says_how_it_is_run(program: Program) -> None:
    *set_up, command = commands(program.file.read_text())
    assert not [name for line in set_up for name in arguments(line)]
    registry = ["registry"] if program.format == "avro" else []
    assert arguments(command) == ["bootstrap", *registry, "job_id", "duration_s", "prefix"]
    values = {name: f"<{name}>" for name in arguments(command)}
    assert "[" not in filled(command, values), "all options are given"
    assert f"/examples/{program.name}" in program.file.read_text(), "ce_source"


def test_libraries_are_pinned() -> None:
    for file in EXAMPLES.glob("*/package.json"):
        versions = json.loads(file.read_text())["dependencies"].values()
        assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions), file
    for file in EXAMPLES.glob("*/pom.xml"):
        text = file.read_text()
        versions = re.findall(r"<artifactId>[^<]*</artifactId>\s*<version>([^<]+)</version>", text)
        assert len(versions) == text.count("<artifactId>"), f"{file}: a version is missing"
        assert all(re.fullmatch(r"\d+(\.\d+)*", version) for version in versions), file


def test_the_record_is_of_these_programs_and_versions() -> None:
    """If it is not: make clients ARGS="--record docs/reports/clients.json"."""
    record = json.loads((PACKAGE_ROOT / "docs" / "reports" / "clients.json").read_text())
    assert {one["name"]: (one["outcome"], one["faults"]) for one in record["programs"]} == {
        program.name: ("ok", []) for program in PROGRAMS
    }
    recorded = {one["name"]: one["library"] for one in record["programs"]}
    pinned = json.loads((EXAMPLES / "node-avro" / "package.json").read_text())["dependencies"]
    assert recorded["node-avro"] == ", ".join(f"{name} {version}" for name, version in pinned.items())
    go = (EXAMPLES / "go" / "go.mod").read_text()
    assert f"\tgithub.com/twmb/{recorded['go'].replace(' ', ' v')}\n" in go


def test_commands_are_run_as_they_stand(tmp_path: Path) -> None:
    ended = run('echo "$PWD"; echo no >&2; exit 3', tmp_path)
    assert (ended.status, ended.stdout.strip(), ended.stderr.strip()) == (3, str(tmp_path), "no")


def test_a_result_is_altered_in_its_hash_and_in_nothing_else() -> None:
    records = goldens.goldens().values()
    true = next(r for r in records if isinstance(r, JobReply) and r.result is not None and r.result.video is not None)
    lie = altered.with_another_hash(true, "other")
    assert true.result is not None
    assert lie.result is not None
    assert true.result.video is not None
    assert lie.result.video is not None
    changed = lie.result.video.file.sha256
    assert changed != true.result.video.file.sha256
    assert re.fullmatch("[0-9a-f]{64}", changed)
    video = replace(true.result.video, file=replace(true.result.video.file, sha256=changed))
    assert lie == replace(true, job_id="other", job="default/other", result=replace(true.result, video=video))


@pytest.mark.parametrize(
    ("ended", "right"),
    [
        (Ended(1, "", "j1: the file is not what the result says", 0.0), True),
        (Ended(0, "ok j1 00 1\n", "", 0.0), False),
        (Ended(0, "", "j1: the file is not what the result says", 0.0), False),
        (Ended(1, "", "no broker", 0.0), False),
        (Ended(None, "", "j1 hangs", 0.0), False),
    ],
)
def test_a_program_that_does_not_notice_is_found_out(ended: Ended, right: bool) -> None:
    assert (checks.faults_of_wrong_hash("j1", ended) == []) is right
