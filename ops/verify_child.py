"""The child process of `reelbus verify`: opens one foreign file behind limits and prints one line of JSON.

Started by ops.verify.verify as `python -m ops.verify_child FILE`; nobody else has a use for it.
"""

import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ops.verify import CPU_S, MarkFound, NotVerifiable, Verification
from stream_processors.mux.payload import ID_HEX, is_valid

if TYPE_CHECKING:
    import av

MAX_PIXELS = 4096 * 4096
MAX_FRAMES_DECODED = 20_000
SAMPLED_FRAMES = 96
_MEMORY_BYTES = 3 << 30
_CODECS = frozenset({"h264", "hevc", "av1", "vp9", "vp8", "mpeg4", "mjpeg", "png"})
_DEMUXERS = (
    (4, b"ftyp", "mov", "mp4"),
    (0, b"\x1a\x45\xdf\xa3", "matroska", "matroska"),
    (0, b"\xff\xd8\xff", "jpeg_pipe", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png_pipe", "png"),
)
"""Offset and bytes that a file has, libavformat's demuxer for it, the name we give it."""


def _child(path: Path) -> dict[str, Any]:
    """Runs in the child. Heavy imports happen here, behind the limits."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        import av

        try:
            plain: dict[str, Any] = msgspec.to_builtins(_look(path))
            return plain
        except av.FFmpegError as exc:
            return {"error": f"not a readable video or picture ({exc.strerror or type(exc).__name__})"}
    except NotVerifiable as exc:
        return {"error": str(exc)}
    except MemoryError:
        return {"error": f"needs more than {_MEMORY_BYTES >> 30} GiB of memory"}


def _demuxer(path: Path) -> tuple[str, str]:
    with path.open("rb") as stream:
        head = stream.read(16)
    if not head:
        raise NotVerifiable("the file is empty")
    for offset, magic, demuxer, name in _DEMUXERS:
        if head[offset:].startswith(magic):
            return demuxer, name
    raise NotVerifiable("neither MP4, MOV, Matroska, WebM, JPEG nor PNG")


def _look(path: Path) -> Verification:
    import av

    demuxer, name = _demuxer(path)
    # max_pixels counts in two places: while the header is probed, and while frames are decoded.
    limit = {"max_pixels": str(MAX_PIXELS)}
    options = {"protocol_whitelist": "file", "codec_whitelist": ",".join(sorted(_CODECS))}
    per_stream: Any = [limit]  # PyAV's stub says list[str]; it takes one dict per stream.
    with av.open(str(path), format=demuxer, options=options, stream_options=per_stream) as container:
        if not container.streams.video:
            raise NotVerifiable("holds no video")
        stream = container.streams.video[0]
        codec = stream.codec_context.name
        width, height = stream.codec_context.width, stream.codec_context.height
        if codec.removeprefix("lib") not in _CODECS and codec not in ("libdav1d",):
            raise NotVerifiable(f"codec {codec} is not one of {', '.join(sorted(_CODECS))}")
        if not 0 < width * height <= MAX_PIXELS:
            raise NotVerifiable(f"{width}x{height} is more than {MAX_PIXELS} pixels, or none")
        stream.codec_context.options = limit
        return _measured(container, stream, name, demuxer.endswith("_pipe"))


def _measured(
    container: "av.container.InputContainer", stream: "av.VideoStream", name: str, still: bool
) -> Verification:
    from stream_processors.mux.find_label import FOUND_AT, label_score
    from stream_processors.mux.mark import Detector

    detector, scores = Detector(), []
    every = 1 if still else max(1, stream.frames // SAMPLED_FRAMES)
    frames, last_s = 0, 0.0
    for frame in _decoded(container, stream):
        if frames % every == 0:
            luma = _luma(frame)
            detector.add(luma)
            scores.append(label_score([luma]))
        frames += 1
        last_s = frame.time or last_s
    if not frames:
        raise NotVerifiable("no frame can be decoded")
    mark = detector.read()
    score = sorted(scores)[len(scores) // 2]
    context = stream.codec_context
    fps = 0.0 if still else float(stream.average_rate or 0)
    return Verification(
        container=name,
        codec=context.name,
        width_px=context.width,
        height_px=context.height,
        fps=round(fps, 3),
        frames=frames,
        duration_s=0.0 if still else round(last_s + (1 / fps if fps else 0), 3),
        label="found" if score >= FOUND_AT else "unknown",
        label_score=round(score, 3),
        mark=MarkFound(
            payload=mark.payload,
            valid=mark.valid,
            confidence=mark.confidence,
            job_prefix=mark.payload[:ID_HEX] if is_valid(mark.payload) else "",
            repaired_bits=mark.repaired_bits,
            frames=mark.frames,
        ),
        aigc=_aigc(dict(container.metadata)),
    )


def _decoded(container: "av.container.InputContainer", stream: "av.VideoStream") -> Iterator["av.VideoFrame"]:
    """Frames until the end, the limit, or a fault after at least one good frame is an error all the same."""
    import av

    count = 0
    try:
        for frame in container.decode(stream):
            if count == MAX_FRAMES_DECODED:
                return
            count += 1
            yield frame
    except av.FFmpegError as exc:
        raise NotVerifiable(f"broken after frame {count} ({exc.strerror or type(exc).__name__})") from None
    if count < stream.frames:
        raise NotVerifiable(f"cut short: {count} of {stream.frames} frames can be decoded")


def _luma(frame: "av.VideoFrame") -> Any:
    """Limited-range luma, shape (height, width)."""
    from stream_processors.mux.planes import planes_of

    if frame.format.name == "yuv420p":
        return planes_of(frame).luma
    return planes_of(frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")).luma


def _aigc(metadata: dict[str, str]) -> dict[str, str] | None:
    """The AIGC label among the container's metadata; None when there is none or it is not a flat JSON object."""
    for key, text in metadata.items():
        if "AIGC" in key.upper():
            try:
                return msgspec.json.decode(text, type=dict[str, str])
            except msgspec.DecodeError:
                return None
    return None


if __name__ == "__main__":
    print(json.dumps(_child(Path(sys.argv[1]))))
