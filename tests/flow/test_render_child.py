"""What the device process does about chunks that nobody wants any more, with a real diffusers pipeline."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from gpu_consumers.models.shapes.evaluate import shapes_entry, spec_of
from gpu_consumers.pipelines import renderer
from gpu_consumers.render import protocol
from gpu_consumers.render.child import Device, Unwanted
from gpu_consumers.render.scratch import read_frames
from schemas.plan import ChunkSpec

ENTRY = replace(shapes_entry(), max_batch=2)
STEPS = ENTRY.steps


class Parent(io.RawIOBase):
    """The other end of the pipe: keeps what the process says, and answers a step with a withdrawal."""

    def __init__(self) -> None:
        self.said: list[protocol.Said] = []
        self.at_step: Callable[[protocol.Step], None] = lambda _step: None

    def writable(self) -> bool:
        return True

    def write(self, raw: bytes) -> int:  # type: ignore[override]
        message = protocol.read_said(io.BytesIO(raw))
        assert message is not None
        self.said.append(message)
        if isinstance(message, protocol.Step):
            self.at_step(message)
        return len(raw)

    def of(self, kind: type) -> list:
        return [message for message in self.said if isinstance(message, kind)]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """More threads than free cores make small torch models many times slower."""
    torch.set_num_threads(1)


@pytest.fixture
def parent() -> Parent:
    return Parent()


@pytest.fixture
def unwanted() -> Unwanted:
    return Unwanted()


@pytest.fixture
def device(tmp_path: Path, parent: Parent, unwanted: Unwanted) -> Device:
    setup = protocol.Setup("cpu", "float32", str(tmp_path), (ENTRY,))
    return Device(setup, parent, unwanted)  # type: ignore[arg-type]


def chunk(name: str, seed: int) -> protocol.Chunk:
    return protocol.Chunk(spec_of(ENTRY, "a red circle moving left on a black background", seed), "", name)


def rendered_alone(spec: ChunkSpec) -> np.ndarray:
    return renderer.load(ENTRY, "cpu", "float32").render([spec], [None], lambda *_: None)[0]


def frames_in(folder: Path, of: protocol.Chunk) -> np.ndarray:
    return np.array(read_frames(folder / of.frames, of.spec.frames, of.spec.height_px, of.spec.width_px))


def test_a_withdrawn_chunk_stops_at_its_step_and_the_next_is_as_ever(device, parent, unwanted, tmp_path) -> None:
    """The same pixels as from a model that was never interrupted, without loading it again."""
    first, second = chunk("1.0.rgb", 1), chunk("2.0.rgb", 2)

    def withdraw(step: protocol.Step) -> None:
        if (step.batch, step.step) == (1, 3):
            unwanted.add(protocol.Withdraw(1, (first.frames,)))

    parent.at_step = withdraw
    assert device.render(protocol.Render(1, (first,)))
    assert [step.step for step in parent.of(protocol.Step)] == [1, 2, 3]
    (stopped,) = parent.of(protocol.Stopped)
    assert stopped.batch == 1
    assert stopped.device_s > 0
    assert not (tmp_path / first.frames).exists()

    assert device.render(protocol.Render(2, (second,)))
    (done,) = parent.of(protocol.Done)
    assert (done.batch, done.left_out) == (2, ())
    assert np.array_equal(frames_in(tmp_path, second), rendered_alone(second.spec))
    assert len(parent.of(protocol.Warm)) == 1
    assert parent.of(protocol.Failed) == []


def test_a_batch_goes_on_for_the_chunk_that_is_wanted(device, parent, unwanted, tmp_path) -> None:
    gone, kept = chunk("1.0.rgb", 1), chunk("2.0.rgb", 2)
    parent.at_step = lambda _step: unwanted.add(protocol.Withdraw(1, (gone.frames,)))
    device.render(protocol.Render(1, (gone, kept)))
    assert len(parent.of(protocol.Step)) == STEPS
    assert parent.of(protocol.Done)[0].left_out == ()
    assert not (tmp_path / gone.frames).exists()
    assert np.abs(frames_in(tmp_path, kept).astype(int) - rendered_alone(kept.spec)).max() <= 2


def test_what_is_withdrawn_before_its_batch_begins_is_left_out(device, parent, unwanted, tmp_path) -> None:
    gone, kept = chunk("1.0.rgb", 1), chunk("2.0.rgb", 2)
    unwanted.add(protocol.Withdraw(1, (gone.frames,)))
    device.render(protocol.Render(1, (gone, kept)))
    assert parent.of(protocol.Done)[0].left_out == (gone.frames,)
    assert not (tmp_path / gone.frames).exists()
    assert np.array_equal(frames_in(tmp_path, kept), rendered_alone(kept.spec))


def test_a_batch_of_which_nothing_is_left_is_passed_over_without_loading_a_model(device, parent, unwanted) -> None:
    both = chunk("1.0.rgb", 1), chunk("2.0.rgb", 2)
    for each in both:
        unwanted.add(protocol.Withdraw(1, (each.frames,)))
    assert device.render(protocol.Render(1, both))
    assert parent.said == [protocol.Stopped(1, 0.0)]


def test_a_withdrawal_means_its_batch_only_and_is_forgotten_with_it(unwanted) -> None:
    unwanted.add(protocol.Withdraw(3, ("a",)))
    unwanted.add(protocol.Withdraw(4, ("b",)))
    assert (unwanted.of(3), unwanted.of(4), unwanted.of(5)) == ({"a"}, {"b"}, set())
    unwanted.forget(3)
    assert (unwanted.of(3), unwanted.of(4)) == (set(), {"b"})
