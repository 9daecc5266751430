"""What parent and device process say to each other, over plain bytes."""

import io

import pytest

from gpu_consumers.render import protocol
from gpu_consumers.render.process import environment, parse_cpus
from schemas.errors import Fatal
from tests.core.test_render_core import entry, task

SAID = [
    protocol.Ready(),
    protocol.Warm(("a", "b"), 1.5),
    protocol.Step(1, 2, 8),
    protocol.Done(1, 0.5),
    protocol.Done(2, 0.5, ("7.0.rgb",)),
    protocol.Stopped(3, 0.25),
    protocol.Failed(3, "device", "lost"),
]
TOLD = [
    protocol.Setup("cpu", "float32", "scratch", (entry(),)),
    protocol.Render(1, (protocol.Chunk(task("a").spec, "", "1.0.rgb"), protocol.Chunk(task("b").spec, "2.g", "2.r"))),
    protocol.Withdraw(1, ("1.0.rgb", "2.r")),
]


def test_messages_come_through_in_order() -> None:
    pipe = io.BytesIO()
    for message in SAID:
        protocol.write(pipe, message)
    pipe.seek(0)
    assert [protocol.read_said(pipe) for _ in SAID] == SAID
    assert protocol.read_said(pipe) is None


def test_orders_come_through() -> None:
    pipe = io.BytesIO()
    for message in TOLD:
        protocol.write(pipe, message)
    pipe.seek(0)
    assert [protocol.read_told(pipe) for _ in TOLD] == TOLD


@pytest.mark.parametrize("keep", range(1, 12))
def test_a_message_that_was_cut_by_a_kill_is_an_end(keep: int) -> None:
    pipe = io.BytesIO()
    protocol.write(pipe, protocol.Step(1, 2, 8))
    assert len(pipe.getvalue()) > 12
    assert protocol.read_said(io.BytesIO(pipe.getvalue()[:keep])) is None


def test_a_length_that_cannot_be_is_refused_before_it_is_read() -> None:
    with pytest.raises(ValueError, match="4294967295 bytes"):
        protocol.read_said(io.BytesIO(b"\xff\xff\xff\xff"))


@pytest.mark.parametrize(("text", "cpus"), [("", set()), ("3", {3}), ("0-2,5", {0, 1, 2, 5})])
def test_cpu_lists(text: str, cpus: set[int]) -> None:
    assert parse_cpus(text) == cpus


@pytest.mark.parametrize("text", ["a", "1-", "0;1"])
def test_a_wrong_cpu_list_names_the_setting(text: str) -> None:
    with pytest.raises(Fatal, match="device_cpus="):
        parse_cpus(text)


def test_compute_threads_are_limited_and_do_not_spin() -> None:
    made = environment(3)
    assert (made["OMP_NUM_THREADS"], made["OMP_WAIT_POLICY"]) == ("3", "PASSIVE")
