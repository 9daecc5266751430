"""Opens a finished video again and measures it, so that what is published is what was asked for."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av

from ops.bus.pulse import beat
from schemas.mark_keys import PUBLIC
from schemas.request import Output
from stream_processors.mux.core import spread
from stream_processors.mux.mark import Detector, Reading
from stream_processors.mux.planes import planes_of

MARK_FRAMES = 16
_SLICE_TYPES = (1, 5)


class OutputBroken(Exception):
    """The finished file is not what was asked for; the message says in what."""


def check_output(path: Path, output: Output, frames: int, key: bytes = PUBLIC) -> Reading:
    """Measure the whole file; raise OutputBroken on any difference. Returns what the invisible mark's detector reads.
    key: the tenant's, of the mark.

    Checked: one H.264 stream, size, pixel format, frame rate, duration, number of frames, time stamps n / fps of all of
    them, and that a choice of frames decodes without error at its own time: every keyframe (at least every two
    seconds), and in the first and last group of pictures every frame that others depend on. Decoding all would be a
    tenth of the muxer's work, and finds faults of the encoder only: the store keeps the bytes by their hash.
    """
    try:
        with av.open(str(path), format="mov") as container:
            _check_header(container, output, frames)
            frame_table = _frame_table(container)
        _check_times([time_s for time_s, _, _ in frame_table], output.fps, frames)
        chosen = _chosen(frame_table)
        with av.open(str(path), format="mov") as container:
            return _check_pictures(container, chosen, key)
    except (av.FFmpegError, IndexError) as exc:
        raise OutputBroken(f"cannot be read: {type(exc).__name__}") from None


def _check_header(container: av.container.InputContainer, output: Output, frames: int) -> None:
    stream = container.streams.video[0]
    context = stream.codec_context
    duration_s = stream.duration * stream.time_base if stream.duration and stream.time_base else 0
    differences = [
        f"{name} is {found}, not {wanted}"
        for name, found, wanted in (
            ("number of streams", len(container.streams), 1),
            ("codec", context.name, "h264"),
            ("size", (context.width, context.height), (output.width_px, output.height_px)),
            ("pixel format", context.pix_fmt, "yuv420p"),
            ("frame rate", stream.average_rate, output.fps),
            ("duration", duration_s, Fraction(frames, output.fps)),
        )
        if found != wanted
    ]
    if differences:
        raise OutputBroken("; ".join(differences))


def is_reference(sample: bytes) -> bool:
    """True if other frames may be predicted from this H.264 sample (length-prefixed NAL units, 4 bytes each):
    some slice has nal_ref_idc > 0 (ITU-T H.264, 7.4.1)."""
    at = 0
    while at + 5 <= len(sample):
        header = sample[at + 4]
        if header & 0x1F in _SLICE_TYPES and header & 0x60:
            return True
        at += 4 + int.from_bytes(sample[at : at + 4], "big")
    return False


_Row = tuple[Fraction, bool, bool]
"""Of one coded frame: presentation time in seconds, is it a keyframe, do others depend on it."""


def _frame_table(container: av.container.InputContainer) -> list[_Row]:
    """One row per frame, in the order of coding."""
    rows = []
    for packet in container.demux(container.streams.video[0]):
        beat()
        if not packet.size:
            continue
        if packet.pts is None or packet.time_base is None:
            raise OutputBroken("a frame has no time stamp")
        rows.append((packet.pts * packet.time_base, packet.is_keyframe, is_reference(bytes(packet))))
    return rows


def _chosen(rows: list[_Row]) -> frozenset[Fraction]:
    """Times of the frames to decode; whatever they are predicted from is among them."""
    groups = list(accumulate(int(key) for _, key, _ in rows))
    ends = {groups[0], groups[-1]}
    return frozenset(
        time_s for (time_s, key, used), group in zip(rows, groups, strict=True) if key or (used and group in ends)
    )


def _check_times(shown: list[Fraction], fps: int, frames: int) -> None:
    if len(shown) != frames:
        raise OutputBroken(f"{len(shown)} frames, not {frames}")
    for number, time_s in enumerate(sorted(shown)):
        if time_s * fps != number:
            raise OutputBroken(f"frame {number} is shown at {float(time_s):.4f} s, not at {number}/{fps} s")


def _check_pictures(container: av.container.InputContainer, chosen: frozenset[Fraction], key: bytes) -> Reading:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    # The deblocking filter takes a third of the time and cannot fail.
    stream.codec_context.options = {"err_detect": "explode", "skip_loop_filter": "all"}
    expected = sorted(chosen)
    detector, wanted = Detector(), frozenset(spread(len(expected), MARK_FRAMES))
    count = -1
    for count, frame in enumerate(_decoded(container, chosen)):
        beat()
        time_s = frame.pts * frame.time_base if frame.pts is not None and frame.time_base else None
        if count == len(expected) or time_s != expected[count]:
            raise OutputBroken(f"the frame at {float(expected[min(count, len(expected) - 1)]):.4f} s does not decode")
        if count in wanted:
            detector.add(planes_of(frame).luma, frame.key_frame)
    if count + 1 != len(expected):
        raise OutputBroken(f"the frame at {float(expected[count + 1]):.4f} s does not decode")
    return detector.read(key)


def _decoded(container: av.container.InputContainer, chosen: frozenset[Fraction]) -> Iterator[av.VideoFrame]:
    """Frames of the chosen packets, and what the decoder still holds at the end."""
    for packet in container.demux(container.streams.video[0]):
        if not packet.size or (packet.pts is not None and packet.pts * packet.time_base in chosen):
            yield from packet.decode()
