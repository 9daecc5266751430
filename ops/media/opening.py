"""Opening a foreign picture or clip: allow-listed containers and codecs, bounded pictures. For child processes only.

Measured traps (PyAV 18.1): `max_pixels` counts in two places, while the header is probed (stream_options) and while
frames are decoded (codec_context.options), and in `options` nowhere; without it a PNG of 599 KB takes 585 MB in
`av.open` alone. stream_options are per stream, so there are more of them than streams are allowed.
"""

from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import av

MAX_STREAMS = 8
_PROBED_STREAMS = 64
"""Streams that are probed within the limits; a file with more than MAX_STREAMS is refused right after."""
_VIDEO_BRANDS = frozenset((b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"M4V ", b"dash"))
_EBML_DOCTYPE = b"\x42\x82"
TINY_PNG = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAC0lEQVR42mNgQAYAAA4AATo1BFYAAAAASUVORK5CYII=")
"""2 x 2 black pixels, to warm up with."""


class Unreadable(Exception):
    """The file is not what may be opened, or is broken. The message is a part of a sentence: "is empty"."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be opened.

    codecs:     by kind (mp4, mov, isobmff: AVIF, HEIC, 3GP and the like, webm, matroska, jpeg, png, webp) the names of
                libavcodec's decoders; a kind that is not there is not opened
    max_pixels: width times height
    """

    codecs: Mapping[str, frozenset[str]]
    max_pixels: int


@dataclass(frozen=True, slots=True)
class Opened:
    """An open file; `still` is True for a single picture."""

    container: "av.container.InputContainer"
    stream: "av.VideoStream"
    kind: str
    still: bool


def kind_of(head: bytes) -> tuple[str, str]:
    """Kind and libavformat's demuxer, from the first 64 bytes. Raises Unreadable."""
    if not head:
        raise Unreadable("is empty")
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand == b"qt  ":
            return "mov", "mov"
        return ("mp4" if brand in _VIDEO_BRANDS else "isobmff"), "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return ("webm" if _doctype(head) == b"webm" else "matroska"), "matroska"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg", "jpeg_pipe"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png", "png_pipe"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp", "webp_pipe"
    raise Unreadable("is none of the kinds that are read")


def _doctype(head: bytes) -> bytes:
    _, found, rest = head.partition(_EBML_DOCTYPE)
    length = rest[0] & 0x7F if found and rest else 0
    return rest[1 : 1 + length].rstrip(b"\0")


@contextmanager
def opened(file: BinaryIO, allowed: Allowed) -> Iterator[Opened]:
    """The file's first video stream, one decoding thread. Nothing but this file is read, whatever it refers to.

    Raises Unreadable for what is not allowed, and for what libav cannot open; faults while decoding are av.FFmpegError.
    """
    kind, demuxer = kind_of(file.read(64))
    file.seek(0)
    codecs = allowed.codecs.get(kind)
    if codecs is None:
        raise Unreadable(f"is {kind}; read are {', '.join(sorted(allowed.codecs))}")
    limit = {"max_pixels": str(allowed.max_pixels)}
    options = {"protocol_whitelist": "none", "codec_whitelist": ",".join(sorted(codecs)), "fpsprobesize": "0"}
    per_stream: Any = [limit] * _PROBED_STREAMS  # PyAV's stub says list[str]; it takes one dict per stream.
    try:
        container = av.open(file, format=demuxer, options=options, stream_options=per_stream)
    except av.FFmpegError as exc:
        raise Unreadable(f"cannot be opened ({exc.strerror or type(exc).__name__})") from None
    assert isinstance(container, av.container.InputContainer)
    with container:
        yield Opened(container, _checked(container, codecs, allowed.max_pixels), kind, demuxer.endswith("_pipe"))


def _checked(container: "av.container.InputContainer", codecs: frozenset[str], max_pixels: int) -> "av.VideoStream":
    if not container.streams.video:
        raise Unreadable("holds no video")
    if len(container.streams) > MAX_STREAMS:
        raise Unreadable(f"holds {len(container.streams)} streams; {MAX_STREAMS} are read at most")
    stream = container.streams.video[0]
    # PyAV's stub does not say so: there is none for a codec that libav does not know.
    context: av.VideoCodecContext | None = stream.codec_context
    if context is None:
        raise Unreadable("has a codec that is not known")
    if context.codec.name not in codecs:
        raise Unreadable(f"has codec {context.codec.name}; read are {', '.join(sorted(codecs))}")
    if not context.width * context.height:
        # Probing stops without a size when the picture is larger than max_pixels.
        raise Unreadable(f"has no size that can be read, or more than {max_pixels} pixels")
    if context.width * context.height > max_pixels:
        raise Unreadable(f"is {context.width} x {context.height}; at most {max_pixels} pixels are read")
    context.options = {"max_pixels": str(max_pixels)}
    context.thread_count = 1
    return stream
