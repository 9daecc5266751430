"""Model families: what they render, what they refuse, and that a chunk's pixels depend on its own spec only."""

import itertools
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import msgspec
import numpy as np
import pytest
import torch

from gpu_consumers.models.digest import digest, verify
from gpu_consumers.models.shapes import captions, world
from gpu_consumers.models.shapes.evaluate import continuation, prompt_set, shapes_entry, spec_of
from gpu_consumers.models.shapes.judge import judge
from gpu_consumers.pipelines import ltx, renderer
from gpu_consumers.pipelines.fake import draw_fake, read_fake
from gpu_consumers.pipelines.renderer import Frames, Renderer
from schemas.errors import Fatal, InvalidMessage, Transient
from schemas.ids import chunk_id
from schemas.plan import ChunkSpec
from schemas.registry import ModelEntry

ENTRY = shapes_entry()
WEIGHTS = Path(ENTRY.source)


def no_steps(_step: int, _steps: int) -> None:
    """For tests that do not look at progress."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """More threads than free cores make small torch models many times slower."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def shapes() -> Renderer:
    return renderer.load(ENTRY, "cpu", "float32")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A model folder that a test may change."""
    return Path(shutil.copytree(WEIGHTS, tmp_path / "model"))


def entry_of(folder: Path, **changes: Any) -> ModelEntry:
    return msgspec.structs.replace(ENTRY, source=str(folder), revision=digest(folder), **changes)


def change(spec: ChunkSpec, **changes: Any) -> ChunkSpec:
    return msgspec.structs.replace(spec, **changes)


def red_circle(seed: int = 1, **changes: Any) -> ChunkSpec:
    return change(spec_of(ENTRY, "a red circle moving left on a black background", seed), **changes)


# ---- the shapes model through the LTX family -----------------------------------------------------------------------


def test_prompts_are_followed(shapes: Renderer) -> None:
    """Three prompts of every kind of wording; all attributes right. The model card measures hundreds."""
    for kind in captions.KINDS:
        cases = prompt_set(3, [kind])
        specs = [spec_of(ENTRY, case.prompt, seed) for seed, case in enumerate(cases, 100)]
        clips = shapes.render(specs, [None] * 3, no_steps)
        assert [judge(clip).right(case.scene) for clip, case in zip(clips, cases, strict=True)] == [True] * 3, kind


@pytest.mark.parametrize("turn", [False, True])
def test_chained_chunks_go_on_as_asked(shapes: Renderer, turn: bool) -> None:
    rows = continuation(shapes, ENTRY, clips=4, chunks=3, turn=turn)
    assert [row["all"] for row in rows] == [1.0, 1.0, 1.0]


def test_a_chained_chunk_starts_where_the_last_one_ended(shapes: Renderer) -> None:
    """The step over the seam is no larger than a step inside a clip (mean absolute difference, levels of 255)."""
    first = shapes.render([red_circle()], [None], no_steps)[0]
    last = first[-ENTRY.given_frames :]
    second = shapes.render([red_circle(seed=2, given_frames=5, frames=12)], [last], no_steps)[0]
    steps = np.abs(np.diff(np.concatenate([first, second]).astype(float), axis=0)).mean(axis=(1, 2, 3))
    assert steps[len(first) - 1] < 2 * np.median(steps)
    alone = shapes.render([red_circle(seed=2)], [None], no_steps)[0]
    assert np.abs(alone[0].astype(float) - first[-1]).mean() > 2 * steps[len(first) - 1]


def test_same_spec_same_pixels_other_seed_other_pixels(shapes: Renderer) -> None:
    once, again = (shapes.render([red_circle()], [None], no_steps)[0] for _ in range(2))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, shapes.render([red_circle(seed=2)], [None], no_steps)[0])


def batch(given: Frames | None) -> tuple[list[ChunkSpec], list[Frames | None]]:
    shape = {"given_frames": 5, "frames": 12} if given is not None else {}
    specs = [
        red_circle(**shape),
        change(spec_of(ENTRY, "a green square moving up on a white background", 9), **{**shape, "frames": 7}),
        red_circle(seed=3, negative_prompt="blue", **shape),
    ]
    return specs, [given if given is None else np.roll(given, i, axis=2) for i in range(3)]


@pytest.mark.parametrize("chained", [False, True])
def test_a_batch_changes_no_chunk(shapes: Renderer, chained: bool) -> None:
    """Tolerance: two levels of 255 anywhere. A leak between items would change whole objects."""
    given = shapes.render([red_circle(seed=8)], [None], no_steps)[0][-5:] if chained else None
    specs, starts = batch(given)
    together = shapes.render(specs, starts, no_steps)
    for spec, start, clip in zip(specs, starts, together, strict=True):
        alone = shapes.render([spec], [start], no_steps)[0]
        assert clip.shape == alone.shape == (spec.frames, 64, 64, 3)
        assert clip.dtype == np.uint8
        assert np.abs(clip.astype(int) - alone).max() <= 2


def test_fewer_frames_are_the_first_of_more(shapes: Renderer) -> None:
    whole = shapes.render([red_circle()], [None], no_steps)[0]
    assert np.array_equal(shapes.render([red_circle(frames=4)], [None], no_steps)[0], whole[:4])


def test_negative_prompt_changes_pixels(shapes: Renderer) -> None:
    plain = shapes.render([red_circle()], [None], no_steps)[0]
    assert not np.array_equal(plain, shapes.render([red_circle(negative_prompt="circle")], [None], no_steps)[0])


def test_frame_rate_does_not_change_what_a_fixed_rate_model_sees(shapes: Renderer) -> None:
    at24, at60 = (shapes.render([red_circle(fps=fps)], [None], no_steps)[0] for fps in (24, 60))
    assert np.array_equal(at24, at60)


def test_every_step_is_reported_and_can_stop_the_work(shapes: Renderer) -> None:
    steps: list[tuple[int, int]] = []
    shapes.render([red_circle()], [None], lambda step, of: steps.append((step, of)))
    assert steps == [(i, 8) for i in range(1, 9)]

    def stop(step: int, _steps: int) -> None:
        if step == 3:
            raise KeyboardInterrupt("cancelled")

    before = shapes.render([red_circle()], [None], no_steps)[0]
    with pytest.raises(KeyboardInterrupt, match="cancelled"):
        shapes.render([red_circle(seed=2)], [None], stop)
    assert np.array_equal(shapes.render([red_circle()], [None], no_steps)[0], before)


def test_prompts_are_never_logged(
    shapes: Renderer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A prompt longer than the model reads is cut, and diffusers would log the rest of it."""
    # Put together here, because a traceback of another library's logging may quote the source line of the call.
    word = "xylo" + "phone"
    logging.getLogger("diffusers").propagate = True
    with caplog.at_level(logging.DEBUG):
        shapes.render([red_circle(prompt="a red circle " + f"{word} " * 100)], [None], no_steps)
    assert word not in caplog.text + "".join(capfd.readouterr())


def test_nan_is_transient(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = copy / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    save_file(
        {k: v * float("nan") if "decoder.conv_out" in k else v for k, v in weights.items()}, file, {"format": "pt"}
    )
    entry = entry_of(copy)
    broken = renderer.load(entry, "cpu", "float32")
    with pytest.raises(Transient, match="NaN"):
        broken.render([red_circle(model_revision=entry.revision)], [None], no_steps)


def test_plain_ltx_pipeline_renders_text_only(copy: Path) -> None:
    """The other class of the family, from the same weights: its schedule comes from scheduler_config.json."""
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps(index | {"_class_name": "LTXPipeline"}))
    with pytest.raises(Fatal, match="given_frames must be 0"):
        renderer.load(entry_of(copy), "cpu", "float32")
    with pytest.raises(Fatal, match="sigma_shift"):
        renderer.load(entry_of(copy, given_frames=0), "cpu", "float32")
    (copy / "reelbus.json").write_text(json.dumps({"frame_rate_fps": 25, "max_sequence_length": 32}))
    config = json.loads((copy / "scheduler" / "scheduler_config.json").read_text())
    (copy / "scheduler" / "scheduler_config.json").write_text(json.dumps(config | {"shift": 3.0}))
    entry = entry_of(copy, given_frames=0)
    clip = renderer.load(entry, "cpu", "float32").render([red_circle(model_revision=entry.revision)], [None], no_steps)[
        0
    ]
    assert judge(clip).right(world.Scene("red", "circle", "left", "black"))


@pytest.mark.gpu
def test_cuda_follows_prompts() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for dtype in ("bfloat16", "float16"):
        cases = prompt_set(4, ["canonical"])
        specs = [spec_of(ENTRY, case.prompt, seed) for seed, case in enumerate(cases)]
        clips = renderer.load(ENTRY, "cuda", dtype).render(specs, [None] * 4, no_steps)
        assert [judge(clip).right(case.scene) for clip, case in zip(clips, cases, strict=True)] == [True] * 4


# ---- what is refused -----------------------------------------------------------------------------------------------


def test_registry_names_the_shipped_weights() -> None:
    verify(WEIGHTS, ENTRY.revision)
    assert sum(f.stat().st_size for f in WEIGHTS.rglob("*.safetensors")) <= 8 * 2**20


def test_digest_sees_content_names_and_nothing_else(copy: Path) -> None:
    before = digest(copy)
    (copy / "README.md").write_text("notes do not count")
    assert digest(copy) == before
    (copy / "reelbus.json").write_text('{"sigma_shift": 2.0}')
    changed = digest(copy)
    assert changed != before
    (copy / "reelbus.json").rename(copy / "other.json")
    assert digest(copy) not in (before, changed)


def test_changed_weights_are_refused(copy: Path) -> None:
    entry = entry_of(copy)
    file = copy / "text_encoder" / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    with pytest.raises(Fatal, match="weights were changed"):
        renderer.load(entry, "cpu", "float32")


@pytest.mark.parametrize("name", ["pipeline.py", "unet/model.bin", "x.PT", "a/b/c.pkl", "old.ckpt"])
def test_folders_with_code_are_refused(copy: Path, name: str) -> None:
    entry = entry_of(copy)
    (copy / name).parent.mkdir(parents=True, exist_ok=True)
    (copy / name).write_bytes(b"")
    with pytest.raises(Fatal, match="only safetensors") as caught:
        renderer.load(entry, "cpu", "float32")
    assert name in str(caught.value)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match=r"no \.safetensors"):
        digest(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "sora"}, "known are ltx, wan, fake"),
        ({"family": "wan", "given_frames": 0}, "family wan drives WanPipeline"),
        ({"source": "someone/model", "revision": "main"}, "40-hex commit"),
        ({"clip_frames": 16}, "multiple of 4 plus 1"),
        ({"given_frames": 4}, "multiple of 4 plus 1"),
        ({"sizes": ((48, 48),)}, "multiples of 32"),
    ],
)
def test_wrong_entries_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Fatal, match=message):
        renderer.load(msgspec.structs.replace(ENTRY, **changes), "cpu", "float32")


def test_wrong_dtype_device_and_tuning_are_refused(copy: Path) -> None:
    with pytest.raises(Fatal, match="float8"):
        renderer.load(ENTRY, "cpu", "float8")
    if not torch.cuda.is_available():
        with pytest.raises(Fatal, match="no CUDA device"):
            renderer.load(ENTRY, "cuda", "bfloat16")
    (copy / "reelbus.json").write_text('{"sigma_shfit": 3.0}')
    with pytest.raises(Fatal, match="sigma_shfit"):
        renderer.load(entry_of(copy), "cpu", "float32")
    (copy / "model_index.json").write_text("{}")
    with pytest.raises(Fatal, match="cannot be loaded"):
        renderer.load(entry_of(copy), "cpu", "float32")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"frames": 18}, InvalidMessage, "1 to 17 new frames"),
        ({"frames": 0}, InvalidMessage, "1 to 17 new frames"),
        ({"given_frames": 5, "frames": 13}, InvalidMessage, "1 to 12 new frames"),
        ({"given_frames": 3}, InvalidMessage, "takes 0 or 5"),
        ({"width_px": 96}, InvalidMessage, "renders 64x64"),
        ({"model_revision": "sha256:feed"}, Transient, "this worker has sha256:"),
        ({"given_frames": 5, "frames": 12}, ValueError, "given frames have shape None"),
        ({"model": "wan"}, ValueError, "holds 'shapes'"),
    ],
)
def test_specs_that_cannot_be_rendered_are_refused(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        renderer.check(ENTRY, [red_circle(**changes)], [None])


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        renderer.check(ENTRY, [], [])
    with pytest.raises(ValueError, match="must be compatible"):
        renderer.check(ENTRY, [red_circle(), red_circle(steps=4)], [None, None])
    with pytest.raises(ValueError, match=r"\(4, 64, 64, 3\)"):
        renderer.check(ENTRY, [red_circle(given_frames=5, frames=12)], [np.zeros((4, 64, 64, 3), np.uint8)])


def test_compatible_is_about_what_a_call_shares() -> None:
    spec = red_circle()
    same = {"prompt": "x", "negative_prompt": "y", "seed": 5, "frames": 3, "first_frame": 40, "tenant": "other"}
    other = {
        "steps": 4,
        "guidance": 1.0,
        "fps": 30,
        "given_frames": 5,
        "width_px": 96,
        "model_revision": "z",
        "model": "m",
    }
    assert all(renderer.compatible(spec, change(spec, **{k: v})) for k, v in same.items())
    assert not any(renderer.compatible(spec, change(spec, **{k: v})) for k, v in other.items())


def test_shifted_schedule() -> None:
    times = ltx.shifted_timesteps(8, 3.0)
    assert times[0] == 1000
    assert all(a > b > 0 for a, b in itertools.pairwise(times))
    assert ltx.shifted_timesteps(4, 1.0) == [1000, 750, 500, 250]
    assert times[4] == pytest.approx(750)  # sigma 0.5 -> 3 * 0.5 / (1 + 2 * 0.5)


# ---- Wan, with random weights --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_wan(tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
    """A WanPipeline folder of a few hundred kilobytes, built from its configuration classes; nothing is downloaded."""
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
    from transformers import AutoTokenizer, UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / "tokenizer")
    pipe = WanPipeline(
        tokenizer=tokenizer,
        text_encoder=UMT5EncoderModel(
            UMT5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_heads=2, num_layers=1)
        ),
        vae=AutoencoderKLWan(
            base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
        ),
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
        transformer=WanTransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=16, out_channels=16,
            text_dim=16, freq_dim=16, ffn_dim=32, num_layers=2, cross_attn_norm=True,
        ),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("wan")
    pipe.save_pretrained(folder)
    return msgspec.structs.replace(
        ENTRY, name="tiny-wan", family="wan", source=str(folder), revision=digest(folder), clip_frames=9,
        given_frames=0, sizes=((48, 32),), steps=2, guidance=5.0,
    )  # fmt: skip


def wan_spec(entry: ModelEntry, seed: int, **changes: Any) -> ChunkSpec:
    spec = ChunkSpec(
        tenant="t", model=entry.name, model_revision=entry.revision, prompt="a red circle", negative_prompt="",
        seed=seed, steps=2, guidance=5.0, width_px=48, height_px=32, fps=16, first_frame=0, frames=9, given_frames=0,
        given_chunk="",
    )  # fmt: skip
    return change(spec, **changes)


def test_wan_renders_batches_like_single_chunks(tiny_wan: ModelEntry) -> None:
    wan = renderer.load(tiny_wan, "cpu", "float32")
    specs = [wan_spec(tiny_wan, 1), wan_spec(tiny_wan, 2, frames=5, prompt="a green square", negative_prompt="blur")]
    steps: list[tuple[int, int]] = []
    together = wan.render(specs, [None, None], lambda step, of: steps.append((step, of)))
    assert [clip.shape for clip in together] == [(9, 32, 48, 3), (5, 32, 48, 3)]
    assert steps == [(1, 2), (2, 2)]
    for spec, clip in zip(specs, together, strict=True):
        alone = wan.render([spec], [None], no_steps)[0]
        assert np.abs(clip.astype(int) - alone).max() <= 2
    other = wan.render([wan_spec(tiny_wan, 3)], [None], no_steps)[0]
    assert not np.array_equal(together[0], other)


def test_wan_can_be_stopped_at_a_step_and_goes_on_as_before(tiny_wan: ModelEntry) -> None:
    """Its scheduler keeps the outputs of earlier steps: none of them may reach the next clip."""
    wan = renderer.load(tiny_wan, "cpu", "float32")
    before = wan.render([wan_spec(tiny_wan, 1)], [None], no_steps)[0]
    steps: list[int] = []

    def stop(step: int, _steps: int) -> None:
        steps.append(step)
        raise KeyboardInterrupt("cancelled")

    with pytest.raises(KeyboardInterrupt, match="cancelled"):
        wan.render([wan_spec(tiny_wan, 2)], [None], stop)
    assert steps == [1]
    assert np.array_equal(wan.render([wan_spec(tiny_wan, 1)], [None], no_steps)[0], before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"given_frames": 1}, "given_frames must be 0"),
        ({"clip_frames": 8}, "multiple of 4 plus 1"),
        ({"sizes": ((40, 32),)}, "multiple of 16"),
    ],
)
def test_wan_entries_that_cannot_work_are_refused(tiny_wan: ModelEntry, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Fatal, match=message):
        renderer.load(msgspec.structs.replace(tiny_wan, **changes), "cpu", "float32")


# ---- the fake family -----------------------------------------------------------------------------------------------

FAKE = msgspec.structs.replace(
    ENTRY, name="fake", family="fake", source="fake", revision="1", chunk_cost_s=0.001, sizes=((64, 64), (96, 64))
)


def fake_spec(**changes: Any) -> ChunkSpec:
    return red_circle(**({"model": "fake", "model_revision": "1"} | changes))


def test_fake_frames_say_who_they_are() -> None:
    fake = renderer.load(FAKE, "cpu", "float32")
    specs = [fake_spec(first_frame=60_000), fake_spec(seed=2, frames=3, first_frame=12)]
    steps: list[tuple[int, int]] = []
    clips = fake.render(specs, [None, None], lambda step, of: steps.append((step, of)))
    for spec, clip in zip(specs, clips, strict=True):
        expected = [(chunk_id(spec)[:8], i) for i in range(spec.first_frame, spec.first_frame + spec.frames)]
        assert [read_fake(frame) for frame in clip] == expected
    assert steps == [(i, 8) for i in range(1, 9)]
    again = fake.render(specs[:1], [None], no_steps)[0]
    assert np.array_equal(clips[0], again)


def through_h264(frames: Sequence[Frames], path: Path, crf: int) -> list[Frames]:
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": str(crf), "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("native", [(64, 64), (96, 64)])
@pytest.mark.parametrize("output", [(96, 64), (320, 180), (640, 360), (454, 454)])
def test_fake_frames_survive_scaling_bars_and_codec(
    tmp_path: Path, native: tuple[int, int], output: tuple[int, int]
) -> None:
    """Scaled to fit with bars, as the muxer does, then a strong H.264. (A wide picture in a square has bars inside the
    centred square, so that one is cut to cover.)"""
    expected = [(prefix, i * 4321) for i, prefix in enumerate(["00000000", "ffffffff", "deadbeef", "01234567"] * 3)]
    choose = max if output[0] == output[1] else min
    scale = choose(output[0] / native[0], output[1] / native[1])
    inner = round(native[0] * scale), round(native[1] * scale)
    pictures = [fitted(draw_fake(prefix, index, *native), inner, output) for prefix, index in expected]
    read = through_h264(pictures, tmp_path / "clip.mp4", crf=30)
    assert [read_fake(frame) for frame in read] == [(prefix, index % 65536) for prefix, index in expected]


def fitted(picture: Frames, inner: tuple[int, int], output: tuple[int, int]) -> Frames:
    """The picture scaled to `inner` and centred on black of `output` (width, height), or cut to it."""
    scaled = cv2.resize(picture, inner, interpolation=cv2.INTER_CUBIC)
    x, y = max(0, inner[0] - output[0]) // 2, max(0, inner[1] - output[1]) // 2
    scaled = scaled[y : y + output[1], x : x + output[0]]
    canvas = np.zeros((output[1], output[0], 3), np.uint8)
    top, left = (output[1] - scaled.shape[0]) // 2, (output[0] - scaled.shape[1]) // 2
    canvas[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    return canvas


def test_pictures_that_are_not_fake_frames_are_refused() -> None:
    first, second = draw_fake("deadbeef", 1, 64, 64), draw_fake("01234567", 2, 64, 64)
    blend = (first.astype(float) * 0.5 + second * 0.5).astype(np.uint8)
    for picture in (np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8), blend, 255 - first):
        with pytest.raises(ValueError, match="no fake frame"):
            read_fake(picture)
