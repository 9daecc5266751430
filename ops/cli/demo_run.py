"""One run of the demo: own directory, own tenant, the project's own client, and a check of every result."""

import fcntl
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ops.cli.connection import Place
from ops.cli.demo_results import Result, collect_all, write_contact_sheet
from ops.cli.output import paper, screen
from ops.cli.stack import Stack, stack
from ops.cli.watching import Follower, print_line
from ops.settings import Settings
from ops.storage.open import open_store
from ops.view.stages import stages
from ops.view.summary import outcomes, reasons, waits
from ops.view.units import count, seconds
from producers.client import Operator
from producers.client.core import key_of, new_job_id, read_requests
from schemas.errors import Fatal
from schemas.ids import job_key
from schemas.lifecycle import TERMINAL

MARKER = "this-is-a-reelbus-demo"
PREFIX = "reelbus-demo"
WARM_UP_S = 60.0
"""Longest wait for a model; then the jobs are sent all the same, and wait for it in the queue."""


class Demo:
    """See `ops.cli.demo.demo` for the parameters.

    Ids start anew with every run because the tenant is new: nothing is taken over from an earlier run, neither jobs nor
    chunks, also on a broker of the user's.
    """

    def __init__(self, place: Place, file: Path, out: Path, *, workers: int, keep: bool, timeout_s: float) -> None:
        self.console = screen()
        self.out, self.workers, self.keep, self.timeout_s = out, workers, keep, timeout_s
        self.tenant = f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        with file.open(encoding="utf-8") as lines:
            requests = list(read_requests(lines, new_job_id))
        self.requests = [msgspec.structs.replace(request, tenant=self.tenant) for request in requests]
        self.local = not place.own_broker
        self.settings = _demo_settings(place)

    def say(self, text: str) -> None:
        print_line(self.console, text)

    def run(self) -> bool:
        """Whether every job ended as it should and every file is what was asked for."""
        began_s = time.monotonic()
        with _own_directory(Path(self.settings.data_dir), wipe=not self.keep):
            port = 0 if self.local else None
            with stack(self.settings, local_port=port, workers=self.workers, say=self.say) as running:
                results = self._process(running)
        self._report(results, time.monotonic() - began_s)
        return all(not result.outcome.faults for result in results)

    def _process(self, running: Stack) -> list[Result]:
        keys = [job_key(request.tenant, request.job_id) for request in self.requests]
        status = running.supervisor.status
        follower = Follower(
            running.settings, wanted=frozenset(keys), tenant=self.tenant, console=self.console,
            above=lambda: stages(status()), erase=True,
        )  # fmt: skip
        self._warm_up(running)
        with Operator(running.settings) as client:
            sent = list(client.submit_many(self.requests))
        assert [key_of(name) for name in sent] == keys
        self.say(f"submitted {count(len(sent), 'job')} in this order: {self._in_order()}")
        sent_s = time.monotonic()
        follower.follow(lambda: follower.finished() or time.monotonic() - sent_s > self.timeout_s)
        late = [key for key in keys if key not in follower.state.jobs or follower.state.jobs[key].state not in TERMINAL]
        if late:
            logs = Path(self.settings.data_dir) / "logs"
            raise Fatal(f"{count(len(late), 'job')} did not end in {self.timeout_s:g} s ({late[0]} ...); see {logs}")
        self.say(f"all jobs ended {seconds(time.monotonic() - sent_s)} after they were sent; fetching their files")
        self.out.mkdir(parents=True, exist_ok=True)
        store = open_store(running.settings)
        states = [follower.state.jobs[key] for key in keys]
        results = collect_all(store, self.requests, states, self.out)
        write_contact_sheet(results, self.out / "contact-sheet.png")
        return results

    def _warm_up(self, running: Stack) -> None:
        """Wait until a worker has loaded its model, so that the waits shown are those of the queue."""
        self.say("a render worker loads its model")
        began_s = time.monotonic()
        status = running.supervisor.status
        follower = Follower(
            running.settings, wanted=(), console=self.console, above=lambda: stages(status()), erase=True
        )
        follower.follow(lambda: follower.state.warm() or time.monotonic() - began_s > WARM_UP_S)

    def _in_order(self) -> str:
        lanes: list[tuple[str, int]] = []
        for request in self.requests:
            if lanes and lanes[-1][0] == request.lane:
                lanes[-1] = (request.lane, lanes[-1][1] + 1)
            else:
                lanes.append((request.lane, 1))
        return ", ".join(f"{number} {lane}" for lane, number in lanes)

    def _report(self, results: list[Result], took_s: float) -> None:
        rows = [result.outcome for result in results]
        paper().print(outcomes(rows))
        for text in reasons(rows):
            self.say(text)
        self.say(f"mean wait from request to first chunk: {waits(rows)}")
        faults = [f"{row.title}: {fault}" for row in rows for fault in row.faults]
        for text in faults:
            self.say(f"WRONG {text}")
        videos = [row for row in rows if row.file]
        verdict = "all as asked for" if not faults else f"{count(len(faults), 'fault')}, see above"
        self.say(f"{count(len(rows), 'job')} in {seconds(took_s)} with start and stop; {verdict}")
        self.say(f"videos, thumbnails and contact-sheet.png are in {self.out}/")
        if videos:
            self.say(f"next: reelbus verify {videos[-1].file} --job {videos[-1].state.job}")


def _demo_settings(place: Place) -> Settings:
    """The user's settings with a directory, and on a broker of the user's a topic prefix, of the demo's own."""
    data_dir = Path(place.settings.data_dir).resolve() / "demo"
    own_store = place.settings.store != Settings().store
    local = not place.own_broker
    return place.settings.replace(
        data_dir=str(data_dir),
        store=place.settings.store if own_store else str(data_dir / "store"),
        prefix=place.settings.prefix if local or place.given.prefix else PREFIX,
        kafka={} if local else place.settings.kafka,
    )


@contextmanager
def _own_directory(folder: Path, wipe: bool) -> Iterator[None]:
    """The demo's directory, empty if `wipe`, for one demo at a time. Only a directory made here is ever emptied."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Fatal(f"another demo is running in {folder}") from None
        if wipe and folder.exists():
            if not (folder / MARKER).exists():
                raise Fatal(f"{folder} was not made by the demo; move it away, or use --keep to go on with it")
            shutil.rmtree(folder)
        folder.mkdir(exist_ok=True)
        (folder / MARKER).touch()
        yield
