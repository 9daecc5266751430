"""`reelbus up` when its broker is killed in the middle of a job: the broker comes back, stages go on, the job ends."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.local import children
from ops.settings import Settings
from producers.client import Operator
from schemas.request import JobRequest, Output, Shot
from schemas.topics import JOBS_FINISHED
from tests.e2e.fake_model import REGISTRY
from tests.e2e.reading import read_all
from tests.e2e.test_cli import Shell

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
FINISH_S = 240.0
OUTPUT = Output(width_px=64, height_px=64, fps=24)


class Up:
    """A running `reelbus up` and what it has said."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.said: list[str] = []
        self._news = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.said.append(line)
                self._news.notify_all()

    def wait_for(self, words: str, times: int = 1) -> str:
        """The line in which these words come for that time."""
        with self._news:
            found = self._news.wait_for(lambda: [line for line in self.said if words in line][times - 1 :], FINISH_S)
            assert found, f"never said {words!r} {times} times:\n" + "".join(self.said)
            return found[0]

    def broker(self) -> int:
        """Process id of its broker."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        pids = [int(pid) for task in tasks for pid in task.read_text().split()]
        return next(pid for pid in pids if "kafka.Kafka" in children.command_line(pid))


@contextmanager
def up(settings: Settings) -> Iterator[Up]:
    process = Shell(settings).start("up", "--port", "0")
    try:
        yield Up(process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(120)
        finally:
            process.kill()
            process.wait()


def job(name: str, duration_s: float) -> JobRequest:
    return JobRequest(job_id=name, model="fake", shots=(Shot(prompt="a ball", duration_s=duration_s),), output=OUTPUT)


def test_the_broker_is_killed_in_the_middle_of_a_job(bare_settings: Settings, kafka_jars: str, tmp_path: Path) -> None:
    registry = tmp_path / "registry.toml"
    registry.write_text(REGISTRY)
    with up(bare_settings.replace(registry=str(registry))) as running:
        servers = re.findall(r"127\.0\.0\.1:\d+", running.wait_for("Kafka answers at"))[0]
        settings = bare_settings.replace(bootstrap_servers=servers, registry=str(registry))
        running.wait_for("next, in another terminal")
        with Operator(settings) as client:
            client.submit(job("warm", 0.5))
            client.wait("warm", timeout_s=FINISH_S)
            client.submit(job("long", 12.0))
            until_state(client, "long", "rendering")
            os.kill(running.broker(), signal.SIGKILL)
            running.wait_for(f"Kafka answers again at {servers}")
            client.submit(job("after", 0.5))
            assert client.wait("long", timeout_s=FINISH_S).state == "completed"
            assert client.wait("after", timeout_s=FINISH_S).state == "completed"
        finished = [(record.key or b"").decode() for record in read_all(settings, JOBS_FINISHED)]
        assert sorted(finished) == ["default/after", "default/long", "default/warm"]


def until_state(client: Operator, name: str, state: str) -> None:
    deadline = time.monotonic() + FINISH_S
    while (found := client.state(name)) is None or found.state != state:
        assert time.monotonic() < deadline, f"{name} never came to {state}"
