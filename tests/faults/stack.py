"""The real pipeline, with handles to break it: broker, S3 server behind a fault proxy, all stages as test builds."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ops import topics_admin
from ops.local.restart import RestartPolicy
from ops.local.supervisor import Supervisor
from ops.settings import Settings
from ops.storage.local_s3 import S3Endpoint, serve
from schemas.topics import LIVE_TOPICS, CallersTopic, Topic, reply_topic_of
from tests.e2e.fake_model import registry
from tests.faults.brokers import Brokers, brokers
from tests.faults.jobs import TENANTS
from tests.faults.proxy import FaultProxy

ROOT = Path(__file__).resolve().parents[2]
BUCKET = "videos"
PROCESSES = {
    "moderate": 1, "split": 1, "prioritise": 1, "dispatch": 2, "render": 2, "inspect": 1, "mux": 2, "track": 2,
    "notify": 1, "reply": 1,
}  # fmt: skip
"""How many of every stage run: two where one takes over from the other."""
POLICY = RestartPolicy(first_s=0.2, most_s=1.0, healthy_s=5.0)
"""As in `reelbus up`, but nobody waits half a minute for a stage that is killed again and again on purpose."""
STEPS_PER_CHUNK = 4
REGISTRY = registry(steps=STEPS_PER_CHUNK, cost_s=0.1)
CELLS_AT_ONCE = 3
"""Stages that die at crash points at the same time: with all of them nothing would ever get through."""
STEP_TIMEOUT_S = 4.0
Say = Callable[[str], None]


@dataclass
class Stack:
    """A running pipeline. Call its methods from the main thread: children die with the thread that started them."""

    folder: Path
    settings: Settings
    """As the stages have them: the store is behind the proxy."""
    direct: Settings
    """As a checker has them: no proxy between."""
    broker: Brokers
    proxy: FaultProxy
    objects: Path
    """Where the S3 server keeps the bucket."""
    say: Say
    cells: dict[str, list[str]] = field(default_factory=dict)
    bug: str = ""
    supervisor: Supervisor | None = None
    small: Path | None = None
    """A small file system under the stages' scratch, or None where none can be mounted."""
    counts: Mapping[str, int] = field(default_factory=lambda: PROCESSES)
    """How many processes of every stage run."""
    restarts: int = 0
    crash_at: dict[str, str] = field(default_factory=dict)
    """Point at which every new process of a stage dies, whatever else is armed."""
    _numbered: dict[str, list[str]] = field(default_factory=dict)
    _armed: dict[str, tuple[str, str, int]] = field(default_factory=dict)

    # ---- processes -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all stages."""
        scratch = Path(self.settings.data_dir)
        scratch.mkdir(parents=True, exist_ok=True)
        if self.small is not None and not (scratch / "scratch").exists():
            (self.small / "scratch").mkdir(exist_ok=True)
            (scratch / "scratch").symlink_to(self.small / "scratch")
        self.supervisor = Supervisor(
            list(self.counts.items()), self.settings, command=self._command, policy=POLICY, report=lambda text: None
        )
        self.supervisor.start()

    def stop(self, timeout_s: float = 60.0) -> None:
        """SIGTERM to all stages and wait."""
        if self.supervisor is not None:
            self.supervisor.stop(timeout_s)
            self.restarts += sum(status.restarts for status in self.supervisor.status())
            self.supervisor = None

    def processes(self) -> dict[str, int | None]:
        """Pid by name of process."""
        assert self.supervisor is not None
        return {status.name: status.pid for status in self.supervisor.status()}

    def signal(self, name: str, number: int) -> bool:
        """Send a signal to a process; False when it does not run just now."""
        assert self.supervisor is not None
        return self.supervisor.kill(name, number) is not None

    def kill_all(self) -> None:
        """SIGKILL to every stage at once, and no restart."""
        assert self.supervisor is not None
        for name in self.processes():
            self.signal(name, signal.SIGKILL)
        self.stop(0.1)

    def device_of(self, name: str) -> int | None:
        """The device process of a render process."""
        pid = self.processes().get(name)
        with suppress(OSError):
            found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return int(found[0]) if found else None
        return None

    def extra(self, stage: str, number: int) -> "subprocess.Popen[bytes]":
        """One more process of a stage, outside the supervisor."""
        environment = {**os.environ, **self.settings.environment(), "REELBUS_WORKER_ID": f"extra-{number}"}
        with (self.folder / f"extra-{stage}.log").open("ab") as log:
            return subprocess.Popen(
                self._command(stage), env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _command(self, stage: str) -> list[str]:
        given = [f"PYTHONPATH={ROOT}", f"FAULT_LOG={self.folder}", f"CLOCK_STEP={self.clock_file}"]
        if self.small is not None:
            given.append(f"TMPDIR={self.small}")
        if stage in self.crash_at:
            given.append(f"CRASH_AT={self.crash_at[stage]}")
        if self.bug:
            given.append(f"SEEDED_BUG={self.bug}")
        return ["/usr/bin/env", *given, sys.executable, "-m", "tests.faults.process", stage]

    # ---- crash points ----------------------------------------------------------------------------------------------

    def arm(self, cells: dict[str, list[str]]) -> None:
        """From now on processes die at these cells, a few stages at a time, one cell of a stage after another."""
        self.cells = {stage: list(left) for stage, left in cells.items()}
        self._numbered = {stage: [f"{stage}-{n}" for n in range(len(left))] for stage, left in cells.items()}
        self.advance_cells()

    def advance_cells(self) -> None:
        """Look which cells were hit, and arm the next ones."""
        hit = {str(line["cell"]) for line in self.deaths()}
        for stage, names in self._numbered.items():
            while names and names[0] in hit:
                names.pop(0)
                self.cells[stage].pop(0)
        armed = {}
        for stage in [stage for stage, left in self.cells.items() if left][:CELLS_AT_ONCE]:
            point, _, nth = self.cells[stage][0].partition(".")[2].partition(":")
            armed[stage] = (self._numbered[stage][0], point, int(nth))
        if armed != self._armed:
            self._armed = armed
            new = self.folder / "armed.new"
            new.write_text(json.dumps(armed))
            new.replace(self.folder / "armed.json")

    def cells_left(self) -> dict[str, list[str]]:
        """Cells that have not been hit, by stage."""
        self.advance_cells()
        return {stage: list(left) for stage, left in self.cells.items() if left}

    def deaths(self) -> list[dict[str, object]]:
        """Crashes at crash points so far."""
        return _lines(self.folder / "deaths.jsonl")

    def steps(self) -> int:
        """Denoise steps that all devices did."""
        path = self.folder / "steps.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    # ---- surroundings ----------------------------------------------------------------------------------------------

    @property
    def clock_file(self) -> Path:
        return self.folder / "clock-ahead-s"

    def wipe(self) -> None:
        """Every stage dies at once, and everything that it had on local disks is gone."""
        self.kill_all()
        shutil.rmtree(self.settings.data_dir)
        for path in self.small.iterdir() if self.small is not None else ():
            shutil.rmtree(path, ignore_errors=True)
        self.start()

    def fill_disk(self) -> Path | None:
        """Fill the small file system; the file to remove afterwards."""
        if self.small is None:
            return None
        ballast = self.small / "ballast"
        with suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(bytes(1 << 20))
        return ballast


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@contextmanager
def stack(folder: Path, seed: int, say: Say, broker_count: int = 1) -> Iterator[Stack]:
    """Brokers (1 or 3), S3 server, proxy, topics; stages are started by `start`. Everything ends with the block."""
    with ExitStack() as cleanup:
        gateway = folder / "s3"
        gateway.mkdir()
        endpoint = cleanup.enter_context(serve(gateway, say))
        (gateway / BUCKET).mkdir()
        credentials(endpoint)
        proxy = cleanup.enter_context(FaultProxy(endpoint.url, seed))
        broker = cleanup.enter_context(brokers(folder / "broker", broker_count))
        settings = settings_for(folder, broker, f"f{seed}", f"s3://{BUCKET}", proxy.url)
        create_topics(settings)
        made = Stack(
            folder, settings, settings.replace(s3_endpoint_url=endpoint.url), broker, proxy, gateway / BUCKET, say
        )
        made.small = _mount_small(folder / "small", cleanup)
        cleanup.callback(lambda: made.supervisor and made.kill_all())
        yield made


def credentials(endpoint: S3Endpoint) -> None:
    """This process and its children speak to that S3 server."""
    os.environ.update(AWS_ACCESS_KEY_ID=endpoint.access_key, AWS_SECRET_ACCESS_KEY=endpoint.secret_key)
    os.environ.update(AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true")


def settings_for(folder: Path, broker: Brokers, prefix: str, store: str, endpoint_url: str) -> Settings:
    """Settings of a pipeline whose files are in `folder`."""
    models = folder / "registry.toml"
    models.write_text(REGISTRY)
    return Settings(
        bootstrap_servers=broker.bootstrap_servers,
        prefix=prefix,
        store=store,
        s3_endpoint_url=endpoint_url,
        data_dir=str(folder / "data"),
        registry=str(models),
        step_timeout_s=STEP_TIMEOUT_S,
        webhook_allow_private=True,
        webhook_secret_file=str(_secret(folder)),
    )


def create_topics(settings: Settings) -> None:
    """All topics, those of callers too."""
    topics_admin.apply(settings, topics_admin.plan(settings, topics=(*LIVE_TOPICS, *_reply_topics(settings))))


def _reply_topics(settings: Settings) -> list[Topic]:
    return [Topic(f"replies.{tenant}", None, "Replies of a tenant.") for tenant in TENANTS if tenant != "default"]


def reply_topic(settings: Settings, tenant: str) -> CallersTopic:
    """The reply topic that jobs of a tenant name."""
    return CallersTopic(reply_topic_of(tenant, settings.prefix))


def _secret(folder: Path) -> Path:
    path = folder / "webhook-secret"
    path.write_text("whsec_" + "c2VjcmV0IG9mIHRoZSBmYXVsdCBoYXJuZXNz")
    path.chmod(0o600)
    return path


def _mount_small(place: Path, cleanup: ExitStack) -> Path | None:
    """A file system of 64 MiB, where this user may mount one (root on Linux)."""
    place.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)], capture_output=True)
    if mount.returncode != 0:
        return None
    cleanup.callback(subprocess.run, ["umount", "-l", str(place)], capture_output=True)
    return place
