"""What a mistake needs to come out. A sound pipeline bears each of these."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

SLOW_KEY = b"slow"
SLOW_RECORD_S, SLOW_ASSEMBLY_S = 15.0, 18.0


def once(name: str) -> bool:
    """True for the first process of this run that asks."""
    try:
        os.close(os.open(Path(os.environ["FAULT_LOG"]) / f"once-{name}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def slow_record(stage: str) -> None:
    """moderate takes long over the record with key SLOW_KEY, the first time that it meets it."""
    if stage != "moderate":
        return
    from ops.bus.faust_agent import Agent

    answer = Agent._answer

    async def slow(self: Any, records: Any) -> None:
        if any(record.key == SLOW_KEY for record in records) and once("slow-record"):
            await asyncio.sleep(SLOW_RECORD_S)  # this is the circumstance
        await answer(self, records)

    Agent._answer = slow


def send_fails_once(stage: str) -> None:
    """The first record that split sends is not taken by the broker."""
    if stage != "split":
        return
    from ops.bus.faust_agent import Agent

    send = Agent._send

    async def failing(self: Any, *what: Any) -> None:
        if once("send-fails"):
            raise TimeoutError("the broker did not acknowledge")
        await send(self, *what)

    Agent._send = failing


def slow_assembly(stage: str) -> None:
    """mux takes SLOW_ASSEMBLY_S for a video, and says at every step that it lives."""
    if stage != "mux":
        return
    from ops.bus.pulse import beat
    from stream_processors.mux.shell import Muxer

    handle = Muxer.handle

    def slow(self: Any, incoming: Any) -> Any:
        until_s = time.monotonic() + SLOW_ASSEMBLY_S
        while time.monotonic() < until_s:
            beat()
            time.sleep(0.2)  # this is the circumstance
        return handle(self, incoming)

    Muxer.handle = slow


def _dies_with(wanted: Callable[[Any], bool], name: str) -> None:
    """The process dies once, before the commit of a transaction that holds a wanted record, all its records sent."""
    from ops.bus.transaction import Transactions

    commit = Transactions.commit

    def dying(self: Any, records: Sequence[Any], dead: Any, offsets: Any, consumer: Any) -> None:
        if any(wanted(out) for out in records) and once(name):
            self._outbox.producer.begin_transaction()
            self._outbox.send(records)
            self._outbox.producer.flush(10)
            line = {"at_s": time.time(), "pid": os.getpid(), "point": name, "cell": ""}
            with (Path(os.environ["FAULT_LOG"]) / "deaths.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            os.kill(os.getpid(), signal.SIGKILL)
        commit(self, records, dead, offsets, consumer)

    Transactions.commit = dying


def dies_before_mux(stage: str) -> None:
    """dispatch dies in the transaction that hands a job to mux."""
    if stage == "dispatch":
        _dies_with(lambda out: out.topic.entity == "mux.tasks", "dispatch.in-transaction")


def dies_before_end(stage: str) -> None:
    """track dies in the transaction that ends a job."""
    if stage == "track":
        _dies_with(lambda out: out.topic.entity == "jobs.finished", "track.in-transaction")


def dies_over_end(stage: str) -> None:
    """reply dies once while it handles the end of a job."""
    if stage != "reply":
        return
    from schemas.codec import decode
    from schemas.events import JobReply
    from stream_processors.reply.shell import Replier

    handle = Replier.__call__

    def dying(self: Any, record: Any) -> Any:
        if decode(JobReply, record.value).result is not None and once("reply.end"):
            time.sleep(1.0)  # whatever was committed before the work is on the broker by now
            os.kill(os.getpid(), signal.SIGKILL)
        return handle(self, record)

    Replier.__call__ = dying


ALL: Mapping[str, Callable[[str], None]] = {
    "slow-record": slow_record,
    "send-fails-once": send_fails_once,
    "slow-assembly": slow_assembly,
    "dies-over-end": dies_over_end,
    "dies-before-mux": dies_before_mux,
    "dies-before-end": dies_before_end,
}
