"""The supervisor with real processes: restarts, logs, orderly stop, and no process left behind whatever ends it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ops.local import children
from ops.local.restart import RestartPolicy
from ops.local.supervisor import StageStatus, Supervisor
from ops.settings import Settings, SettingsError, load
from tests.e2e import waiting
from tests.e2e.waiting import alive

WAIT_S = 30.0
until = partial(waiting.until, within_s=WAIT_S)
QUICK = RestartPolicy(first_s=0.05, most_s=0.2, healthy_s=60.0)
# A stage: leaves a file with its pid, and one at its orderly end.
STAGE = """
import os, pathlib, signal, sys, threading
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
signal.signal(signal.SIGINT, lambda *_: os._exit(9))
(folder / f"{name}.{os.getpid()}.up").touch()
stop.wait()
with (folder / "stopped").open("a") as file: file.write(name + "\\n")
"""
STUBBORN = """
import pathlib, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
code = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); sys.stdin.read()"
child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
made = pathlib.Path(sys.argv[1], "made")
made.write_text(str(child.pid))
made.rename(pathlib.Path(sys.argv[1], "grandchild"))
child.wait()
"""
CRASHING = "import sys; print('reading orders'); sys.exit('no such model: dreams')"
# What `reelbus up` is to its stages. The grandchild asks for its own end, as a render worker's device process does.
PARENT = """
import sys
from ops.local.supervisor import Supervisor
from ops.settings import Settings
command = lambda stage: [sys.executable, "-c", sys.argv[2], sys.argv[1], stage]
with Supervisor([("one", 2), ("two", 1)], Settings(data_dir=sys.argv[1]), command=command) as supervisor:
    print(*[status.pid for status in supervisor.status()], flush=True)
    sys.stdin.read()
"""


def script(code: str, folder: Path) -> Callable[[str], list[str]]:
    return lambda stage: [sys.executable, "-c", code, str(folder), stage]


def one(supervisor: Supervisor, name: str) -> StageStatus:
    return next(status for status in supervisor.status() if status.name == name)


def pid_of(supervisor: Supervisor, name: str) -> int:
    pid = one(supervisor, name).pid
    assert pid is not None
    return pid


def up(folder: Path, stage: str, pid: int) -> Callable[[], bool]:
    return lambda: (folder / f"{stage}.{pid}.up").exists()


def test_a_killed_process_is_started_again_and_the_others_are_left_alone(tmp_path: Path) -> None:
    said: list[str] = []
    settings = Settings(data_dir=str(tmp_path))
    with Supervisor(
        [("one", 1), ("two", 2)], settings, command=script(STAGE, tmp_path), policy=QUICK, report=said.append
    ) as supervisor:
        assert [s.name for s in supervisor.status()] == ["one", "two", "two-2"]
        before = {s.name: s.pid for s in supervisor.status()}
        assert supervisor.kill("two-2", signal.SIGKILL) == before["two-2"]
        until(lambda: one(supervisor, "two-2").restarts == 1, "two-2 is started again")
        after = one(supervisor, "two-2")
        assert (after.state, after.last_exit) == ("running", -signal.SIGKILL)
        assert after.pid != before["two-2"]
        assert {n: before[n] for n in ("one", "two")} == {n: pid_of(supervisor, n) for n in ("one", "two")}
    assert len(said) == 1
    assert said[0].startswith("two-2 ended with status -9")


def test_an_unknown_name_cannot_be_killed(tmp_path: Path) -> None:
    supervisor = Supervisor([("one", 1)], Settings(data_dir=str(tmp_path)), command=script(STAGE, tmp_path))
    with pytest.raises(KeyError, match="three"):
        supervisor.kill("three", signal.SIGKILL)
    assert supervisor.kill("one", signal.SIGKILL) is None


def test_stop_lets_every_stage_end_by_itself(tmp_path: Path) -> None:
    supervisor = Supervisor([("one", 1), ("two", 1)], Settings(data_dir=str(tmp_path)), command=script(STAGE, tmp_path))
    supervisor.start()
    pids = [pid_of(supervisor, "one"), pid_of(supervisor, "two")]
    until(lambda: all(up(tmp_path, *pair)() for pair in zip(("one", "two"), pids, strict=True)), "both run")
    supervisor.stop()
    assert [(s.state, s.pid, s.last_exit) for s in supervisor.status()] == [("stopped", None, 0)] * 2
    assert sorted((tmp_path / "stopped").read_text().split()) == ["one", "two"]
    assert not any(map(alive, pids))


def test_a_stage_that_does_not_stop_is_killed_with_its_children(tmp_path: Path) -> None:
    supervisor = Supervisor([("one", 1)], Settings(data_dir=str(tmp_path)), command=script(STUBBORN, tmp_path))
    supervisor.start()
    until((tmp_path / "grandchild").exists, "the grandchild runs")
    grandchild = int((tmp_path / "grandchild").read_text())
    assert alive(grandchild)
    supervisor.stop(timeout_s=0.2)
    assert one(supervisor, "one").last_exit == -signal.SIGKILL
    until(lambda: not alive(grandchild), "the grandchild ended")


def test_children_of_a_crashed_stage_do_not_outlive_it(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    slow = RestartPolicy(first_s=600, most_s=600)
    with Supervisor(
        [("one", 1)], settings, command=script(STUBBORN, tmp_path), policy=slow, report=lambda _: None
    ) as supervisor:
        until((tmp_path / "grandchild").exists, "the grandchild runs")
        grandchild = int((tmp_path / "grandchild").read_text())
        supervisor.kill("one", signal.SIGKILL)
        until(lambda: one(supervisor, "one").state == "waiting", "the end is noticed")
        until(lambda: not alive(grandchild), "the grandchild ended")


def test_a_crash_is_reported_with_the_last_lines_of_its_own_run(tmp_path: Path) -> None:
    said: list[str] = []
    settings = Settings(data_dir=str(tmp_path))
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "one.log").write_text("a line of yesterday\n")
    with Supervisor(
        [("one", 1)], settings, command=script(CRASHING, tmp_path), policy=QUICK, report=said.append
    ) as supervisor:
        until(lambda: len(said) >= 3, "three crashes")
        assert one(supervisor, "one").last_exit == 1
    assert "one ended with status 1" in said[0]
    assert said[0].endswith("\n  one: reading orders\n  one: no such model: dreams")
    assert said[1].count("reading orders") == 1
    assert (tmp_path / "logs" / "one.log").read_text().startswith("a line of yesterday\nreading orders")


def test_a_log_that_has_grown_is_moved_aside(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    log.write_bytes(b"x" * 100)
    children.rotate(log, most_bytes=101)
    assert log.stat().st_size == 100
    children.rotate(log, most_bytes=100)
    assert not log.exists()
    assert (tmp_path / "one.log.1").stat().st_size == 100


def test_settings_reach_the_stage_and_secrets_only_by_a_private_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REELBUS_POOL", "of the parent, not of the settings")
    settings = Settings(data_dir=str(tmp_path), prefix="p", kafka={"sasl.password": "se=cret"}, torch_threads=3)
    show = (
        "import json, os, pathlib, sys, threading\n"
        "made = pathlib.Path(sys.argv[1], 'made'); made.write_text(json.dumps(dict(os.environ)))\n"
        "made.rename(pathlib.Path(sys.argv[1], 'environment')); threading.Event().wait()"
    )
    with Supervisor([("one", 1)], settings, command=script(show, tmp_path)) as supervisor:
        until((tmp_path / "environment").exists, "the stage has written its environment")
        seen = json.loads((tmp_path / "environment").read_text())
        assert load(seen) == settings
        assert "se=cret" not in json.dumps(seen)
        assert "se=cret" not in children.command_line(pid_of(supervisor, "one"))
        assert Path(seen["REELBUS_KAFKA"]).stat().st_mode & 0o077 == 0
    assert not Path(seen["REELBUS_KAFKA"]).exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a parent death signal")
def test_kill_minus_nine_of_the_supervisor_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path), STAGE]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 3
    for stage, pid in zip(("one", "one", "two"), pids, strict=True):
        until(up(tmp_path, stage, pid), f"{stage} runs")
    process.kill()
    process.communicate()
    until(lambda: not any(map(alive, pids)), "all stages died with the supervisor")


def test_each_process_has_a_port_for_its_health(tmp_path: Path) -> None:
    show = (
        "import os, pathlib, sys, threading\n"
        "made = pathlib.Path(sys.argv[1], f'{sys.argv[2]}.{os.getpid()}.made')\n"
        "made.write_text(os.environ['REELBUS_HEALTH_ADDRESS']); made.rename(made.with_suffix('.address'))\n"
        "threading.Event().wait()"
    )
    settings = Settings(data_dir=str(tmp_path), health_address="[::1]:7000")
    with Supervisor([("one", 1), ("two", 2)], settings, command=script(show, tmp_path)):
        until(lambda: len(list(tmp_path.glob("*.address"))) == 3, "all have written theirs")
    assert sorted(file.read_text() for file in tmp_path.glob("*.address")) == ["[::1]:7000", "[::1]:7001", "[::1]:7002"]
    with pytest.raises(SettingsError, match="2 processes count ports up from 65535"):
        Supervisor([("one", 2)], Settings(data_dir=str(tmp_path), health_address=":65535"))


def test_an_interrupt_of_the_terminal_does_not_reach_the_stages(tmp_path: Path) -> None:
    """Ctrl-C signals the terminal's process group; stages in it would end before their time."""
    with Supervisor([("one", 1)], Settings(data_dir=str(tmp_path)), command=script(STAGE, tmp_path)) as supervisor:
        pid = pid_of(supervisor, "one")
        until(up(tmp_path, "one", pid), "the stage runs")
        assert os.getsid(pid) == pid != os.getsid(0)
