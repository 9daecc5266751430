"""One program on the running pipeline: set up in a copy, run as its header says, and everything it claims checked."""

import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ops.settings import Settings
from tests.clients import altered, checks
from tests.clients.commands import Ended, run
from tests.clients.programs import Program, commands, filled

LEFT_BY_HAND = shutil.ignore_patterns("node_modules", "package-lock.json", "target")


@dataclass(slots=True)
class Outcome:
    """What became of one program. Seconds are of the wall clock; those of Java and Go include compiling."""

    name: str
    outcome: Literal["ok", "skipped", "failed"]
    language: str = ""
    library: str = ""
    setup_s: float = 0.0
    video_s: float = 0.0
    """From the start of the program to its end, with the video made and checked."""
    refused_s: float = 0.0
    """The same with a request that is refused."""
    altered_s: float = 0.0
    """The same with a result whose sha256 is wrong."""
    faults: list[str] = field(default_factory=list)
    """Why it was skipped or failed."""


def attempt(program: Program, settings: Settings, folder: Path) -> Outcome:
    """Run a program with a good request, a bad one, and a result that is wrong.

    settings: of the pipeline
    folder: where its copy is made; must not exist yet, so that nothing is left in the clone
    """
    missing = [f"{tool} (install {what})" for tool, what in program.tools.items() if shutil.which(tool) is None]
    if missing:
        return Outcome(program.name, "skipped", faults=[f"not on PATH: {', '.join(missing)}"])
    shutil.copytree(program.folder, folder, ignore=LEFT_BY_HAND)
    result = Outcome(program.name, "failed")
    *set_up, command = commands(program.file.read_text())
    for line in set_up:
        ended = run(line, folder)
        result.setup_s += ended.took_s
        if ended.status != 0:
            result.faults = [f"{line}: {ended.last_words()}"]
            return result
    result.language = run(program.language, folder).stdout.strip()
    result.library = run(program.library, folder).stdout.strip()
    result.faults = [f"no version of its {what}" for what in ("language", "library") if not getattr(result, what)]
    _run_and_check(program, command, settings, folder, result)
    result.outcome = "failed" if result.faults else "ok"
    return result


def _run_and_check(program: Program, command: str, settings: Settings, folder: Path, result: Outcome) -> None:
    stem = f"{program.name}-{secrets.token_hex(4)}"
    good, bad, lied = (f"{stem}-{kind}" for kind in ("good", "bad", "altered"))

    def started(where: Settings, job_id: str, duration_s: float = checks.DURATION_S) -> Ended:
        given = {
            "bootstrap": where.bootstrap_servers, "registry": where.schema_registry, "prefix": where.prefix,
            "job_id": job_id, "duration_s": str(duration_s),
        }  # fmt: skip
        return run(filled(command, given), folder)

    ended = started(settings, good)
    result.video_s = ended.took_s
    faults = checks.faults_of_success(program, good, ended, settings)
    result.faults += faults
    ended = started(settings, bad, checks.BAD_DURATION_S)
    result.refused_s = ended.took_s
    result.faults += checks.faults_of_refusal(program, bad, ended, settings)
    if faults:
        return  # there is no true result to alter
    elsewhere = altered.prepared(settings)
    reply = altered.with_another_hash(altered.finished(settings, good), lied)
    with ThreadPoolExecutor(1) as side:
        running = side.submit(started, elsewhere, lied)
        altered.answer(program, elsewhere, lied, reply)
        ended = running.result()
    result.altered_s = ended.took_s
    result.faults += checks.faults_of_wrong_hash(lied, ended)
