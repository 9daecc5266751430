"""Running `reelbus batch` as a process, and looking at what it sent."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ops.settings import PACKAGE_ROOT, Settings
from schemas.codec import decode
from schemas.records import Incoming
from schemas.request import JobRequest
from schemas.topics import JOBS_REQUESTED
from tests.e2e.reading import read_all

LIMIT_S = 120.0


class Shell:
    """Runs `reelbus batch` in a folder of its own."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        kept = {key: value for key, value in os.environ.items() if not key.startswith("REELBUS_")}
        path = os.pathsep.join([str(PACKAGE_ROOT), kept.get("PYTHONPATH", "")])
        self.environment = {**kept, **settings.environment(), "NO_COLOR": "1", "PYTHONPATH": path}

    def rows(self, name: str, rows: list[dict[str, Any]]) -> str:
        (self.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return name

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "ops", "batch", *arguments], env=self.environment, cwd=self.folder, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def __call__(self, *arguments: str, code: int = 0, stdin: str = "") -> tuple[str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(stdin, timeout=LIMIT_S)
        assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in err
        return out, err

    def sent(self) -> list[Incoming]:
        return [record for topic in JOBS_REQUESTED.values() for record in read_all(self.settings, topic)]

    def requests(self) -> list[JobRequest]:
        return [decode(JobRequest, record.value) for record in self.sent()]

    def until(self, ready: Callable[[], bool], what: str) -> None:
        end_s = time.monotonic() + LIMIT_S
        while not ready():
            assert time.monotonic() < end_s, f"still waiting for {what}"
