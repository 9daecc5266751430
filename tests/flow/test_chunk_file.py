"""Chunk files: lossless where they say so, the same bytes for the same pixels, the tail that the next starts from."""

import hashlib
from pathlib import Path

import av
import numpy as np
import pytest

from ops.media import chunk_file
from ops.media.chunk_file import ChunkCodec, Frames, UnreadableChunk


def moving_picture(frames: int, height_px: int, width_px: int, seed: int = 7) -> Frames:
    """Smooth gradients that drift, with a little noise: what a diffusion model yields."""
    y, x = np.mgrid[0:height_px, 0:width_px]
    noise = np.random.default_rng(seed).integers(-4, 5, (frames, height_px, width_px, 3))
    clip = np.stack([np.stack([x * 2 + 3 * t, y * 2 + t, (x + y) + 2 * t], -1) % 200 + 25 for t in range(frames)])
    return (clip + noise).astype(np.uint8)


@pytest.mark.parametrize("size", [(64, 64), (48, 66), (33, 65)], ids=str)
def test_ffv1_gives_back_every_bit(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (9, *size, 3), dtype=np.uint8)
    chunk_file.encode(frames, 24, "ffv1", tmp_path / "a.mkv")
    assert np.array_equal(chunk_file.tail(tmp_path / "a.mkv", 9), frames)


@pytest.mark.parametrize("codec", ["ffv1", "h264"])
def test_the_same_pixels_give_the_same_bytes(tmp_path: Path, codec: ChunkCodec) -> None:
    frames = moving_picture(17, 64, 96)
    hashes = set()
    for name in ("a.mkv", "b.mkv"):
        chunk_file.encode(frames, 24, codec, tmp_path / name)
        hashes.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(hashes) == 1


@pytest.mark.parametrize("codec", ["ffv1", "h264"])
def test_the_tail_is_the_last_frames(tmp_path: Path, codec: ChunkCodec) -> None:
    frames = moving_picture(17, 64, 96)
    chunk_file.encode(frames, 24, codec, tmp_path / "a.mkv")
    tail = chunk_file.tail(tmp_path / "a.mkv", 5)
    assert tail.shape == (5, 64, 96, 3)
    distance = [np.abs(frames[i : i + 5].astype(int) - tail).mean() for i in range(13)]
    assert int(np.argmin(distance)) == 12


def test_h264_keeps_colours_over_a_chain_of_chunks(tmp_path: Path) -> None:
    frames = moving_picture(9, 64, 96)
    link = frames
    for number in range(6):
        chunk_file.encode(link, 24, "h264", tmp_path / f"{number}.mkv")
        link = chunk_file.tail(tmp_path / f"{number}.mkv", 9)
    drift = (link.astype(int) - frames).mean(axis=(0, 1, 2))
    assert np.abs(drift).max() < 2.0  # swscale's default rounding drifts by 8


def test_h264_is_tagged_so_that_players_show_the_right_colours(tmp_path: Path) -> None:
    red = np.zeros((4, 64, 64, 3), np.uint8)
    red[..., 0] = 220
    chunk_file.encode(red, 24, "h264", tmp_path / "a.mkv")
    with av.open(str(tmp_path / "a.mkv")) as container:
        picture = next(container.decode(video=0))
    assert (picture.colorspace, picture.color_range) == (1, 1)
    assert np.abs(picture.to_ndarray(format="rgb24").astype(int) - red[0]).max() <= 4


def test_odd_sizes_are_refused_by_h264_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"65x33.*ffv1"):
        chunk_file.encode(moving_picture(2, 33, 65), 24, "h264", tmp_path / "a.mkv")


@pytest.mark.parametrize("keep", [0, 10, 0.6])
def test_a_cut_file_is_unreadable(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "a.mkv"
    chunk_file.encode(moving_picture(17, 64, 64), 24, "ffv1", path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else int(keep)])
    with pytest.raises(UnreadableChunk):
        chunk_file.tail(path, 17)


def test_frames_and_rate_are_what_was_written(tmp_path: Path) -> None:
    chunk_file.encode(moving_picture(12, 64, 64), 30, "ffv1", tmp_path / "a.mkv")
    assert chunk_file.count(tmp_path / "a.mkv") == 12
    with av.open(str(tmp_path / "a.mkv")) as container:
        assert container.streams.video[0].average_rate == 30
