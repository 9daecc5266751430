"""Hostile files. REFUSED must be refused; of HARMLESS either a refusal or pixels of the asked length may come.

A generator writes into the open file that it gets, so that a file of 4 GB can be sparse.
"""

import os
import struct
import zlib
from collections.abc import Callable
from typing import BinaryIO

from tests.hostile import boxes
from tests.hostile.good_media import clip, good, pattern, still

Write = Callable[[BinaryIO], object]
GIB = 1 << 30


def _bytes(make: Callable[[], bytes]) -> Write:
    return lambda file: file.write(make())


def _sparse(head: bytes, size: int = 4 * GIB) -> Write:
    def write(file: BinaryIO) -> None:
        file.write(head)
        file.truncate(size)

    return write


def _video(codec: str, container: str, **more: int) -> Write:
    return _bytes(lambda: clip(codec, container, **more))


def _base(name: str, change: Callable[[bytes], bytes]) -> Write:
    return _bytes(lambda: change(good()[name]))


def _bomb_in(container: bytes) -> bytes:
    """The measured one: a PNG of 16000 x 12000 as the one frame of a clip."""
    import io

    import av

    target = io.BytesIO()
    with av.open(target, "w", format="mov") as made:
        stream = made.add_stream("png", rate=1)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 16000, 12000, "rgb24"
        packet = av.Packet(boxes.png(16000, 12000, boxes.zeros(12000 * 48001)))
        packet.stream, packet.pts, packet.dts = stream, 0, 0
        made.mux(packet)
    return target.getvalue().replace(b"ftypqt  ", b"ftyp" + container)


def _cut(share: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: int(len(data) * share)]


def _many_streams() -> bytes:
    """Twelve video tracks by repeating the one track of a clip."""
    data = good()["h264.mp4"]
    moov = data.index(b"moov") - 4
    size = struct.unpack(">I", data[moov : moov + 4])[0]
    trak = data.index(b"trak") - 4
    length = struct.unpack(">I", data[trak : trak + 4])[0]
    track = data[trak : trak + length]
    grown = boxes.box(b"moov", data[moov + 8 : trak + length] + track * 11 + data[trak + length : moov + size])
    return data[:moov] + grown + data[moov + size :]


def _audio_only(container: str, codec: str) -> bytes:
    import io

    import av
    import numpy as np

    target = io.BytesIO()
    with av.open(target, "w", format=container) as made:
        stream = made.add_stream(codec, rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    return target.getvalue()


_SVG = b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink" width="9" height="9">'
_TEXTS = {
    "svg": _SVG + b"</svg>",
    "svg that fetches": _SVG + b'<image x:href="http://169.254.169.254/latest/meta-data/"/></svg>',
    "svg with an entity": b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + _SVG,
    "html": b"<!doctype html><script>fetch('http://127.0.0.1/')</script>",
    "m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1/x.ts\n#EXT-X-ENDLIST\n",
    "m3u8 of a local file": b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n",
    "m3u8 with a key": b'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="http://127.0.0.1/k"\n#EXTINF:9,\nx.ts\n',
    "ffconcat": b"ffconcat version 1.0\nfile /etc/passwd\nfile http://127.0.0.1/\n",
    "concat protocol": b"concat:/etc/passwd|/etc/hosts",
    "dash manifest": b'<?xml version="1.0"?><MPD><BaseURL>http://127.0.0.1/</BaseURL></MPD>',
    "pls": b"[playlist]\nFile1=http://127.0.0.1/\nNumberOfEntries=1\n",
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "subtitles": b"1\n00:00:00,000 --> 00:00:09,000\nhello\n",
    "pdf": b"%PDF-1.7\n1 0 obj<<>>endobj\n",
    "zip": b"PK\x03\x04" + bytes(64),
    "elf": b"\x7fELF\x02\x01\x01" + bytes(64),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file\n",
    "imagemagick": b"push graphic-context\nviewbox 0 0 9 9\nfill 'url(https://127.0.0.1/)'\n",
}
_MAGICS = {
    "gif": b"GIF89a\1\0\1\0", "bmp": b"BM\x46\0\0\0", "tiff": b"II*\0\x08\0\0\0", "ico": b"\0\0\1\0\1\0",
    "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg xl": b"\xff\x0a\xfa\x1f", "psd": b"8BPS\0\1", "exr": b"v/1\1",
    "flv": b"FLV\1\5\0\0\0\x09", "mpeg ts": (b"\x47\x40\x11\x10" + bytes(184)) * 9,
    "mpeg ps": b"\0\0\1\xba" + bytes(64),
    "ogg": b"OggS\0\2", "flac": b"fLaC", "mp3": b"ID3\4\0\0", "raw h264": b"\0\0\0\1\x67\x42\0\x0a",
    "ivf": b"DKIF\0\0\x20\0VP90", "y4m": b"YUV4MPEG2 W99999 H99999 F1:1\nFRAME\n", "swf": b"FWS\x09", "rm": b".RMF",
    "avi": boxes.riff(b"AVI ", bytes(64)), "wav": boxes.riff(b"WAVE", bytes(64)),
    "asf": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
}  # fmt: skip

REFUSED: dict[str, Write] = {
    "empty": _bytes(bytes),
    "one byte": _bytes(lambda: b"\xff"),
    "zeros": _bytes(lambda: bytes(100_000)),
    **{name: _bytes(lambda text=text: text) for name, text in _TEXTS.items()},
    **{name: _bytes(lambda magic=magic: magic + bytes(200)) for name, magic in _MAGICS.items()},
    "avif": _bytes(lambda: boxes.box(b"ftyp", b"avif\0\0\0\0avifmif1miaf") + bytes(200)),
    "animated avif": _bytes(lambda: boxes.box(b"ftyp", b"avis\0\0\0\0avisavifmsf1iso8") + good()["av1.mp4"][32:]),
    "heic": _bytes(lambda: boxes.box(b"ftyp", b"heic\0\0\0\0mif1heic") + bytes(200)),
    "quicktime": _video("libx264", "mov"),
    "matroska": _video("libx264", "matroska"),
    "mpeg-4 part 2 in mp4": _video("mpeg4", "mp4"),
    "vp8 in webm": _video("libvpx", "webm"),
    "sound only, mp4": _bytes(lambda: _audio_only("mp4", "aac")),
    "sound only, webm": _bytes(lambda: _audio_only("webm", "libopus")),
    "100,000 frames a second": _video("libx264", "mp4", fps=100_000),
    "16000 x 12000 png": _bytes(lambda: boxes.png(16000, 12000, boxes.zeros(12000 * 48001))),
    "16000 x 12000 png in mov": _bytes(lambda: _bomb_in(b"qt  ")),
    "16000 x 12000 png in mp4": _bytes(lambda: _bomb_in(b"isom")),
    "png of 2 billion columns": _bytes(lambda: boxes.png(2**31 - 1, 1, boxes.zeros(1 << 20))),
    "png of 4 billion rows": _bytes(lambda: boxes.png(1, 2**32 - 1, boxes.zeros(1 << 20))),
    "png of no size": _bytes(lambda: boxes.png(0, 0, boxes.zeros(64))),
    "png without pixels": _bytes(lambda: boxes.PNG + boxes.png_chunk(b"IEND", b"")),
    "png of an unknown colour type": _bytes(lambda: boxes.png(8, 8, boxes.zeros(400), colour=5)),
    "png, one column and a million rows": _bytes(lambda: boxes.png(1, 1_000_000, boxes.zeros(4_000_000))),
    "png, one row of a million columns": _bytes(lambda: boxes.png(1_000_000, 1, boxes.zeros(3_000_001))),
    "jpeg of 65500 x 65500": _base("picture.jpg", lambda data: boxes.jpeg_of(65500, 65500, data)),
    "jpeg of 65500 x 1": _base("picture.jpg", lambda data: boxes.jpeg_of(65500, 1, data)),
    "jpeg that only starts": _bytes(lambda: b"\xff\xd8\xff\xe0"),
    "jpeg of markers": _bytes(lambda: b"\xff\xd8" + b"\xff\xe1\0\2" * 100_000),
    "webp head only": _bytes(lambda: boxes.riff(b"WEBP", b"")),
    "webp of 16384 x 16384": _bytes(
        lambda: boxes.riff(b"WEBP", b"VP8X\x0a\0\0\0" + bytes(4) + b"\xff\x3f\0" * 2 + b"VP8L" + bytes(40))
    ),
    "webp whose length lies": _bytes(lambda: boxes.riff(b"WEBP", b"VP8 \xff\xff\xff\xff" + bytes(40), 2**32 - 9)),
    "mp4 head only": _bytes(lambda: boxes.FTYP),
    "mp4, half of moov": _base("h264.mp4", lambda data: data[: data.index(b"moov") + 300]),
    "mp4 without moov": _base("h264.mp4", lambda data: boxes.FTYP + data[data.index(b"mdat") - 4 :]),
    "mp4, 20,000 boxes deep": _bytes(lambda: boxes.FTYP + boxes.nested(b"moov", 20_000)),
    "mp4 of a million empty boxes": _bytes(lambda: boxes.FTYP + boxes.box(b"udta", b"") * 1_000_000),
    "mp4 of twelve tracks": _bytes(_many_streams),
    "mp4 whose picture is zeros": _base("h264.mp4", lambda data: data[: data.index(b"mdat") + 4] + bytes(4000)),
    "webm head only": _bytes(lambda: boxes.ebml(b"webm")),
    "webm of an unknown doctype": _bytes(lambda: boxes.ebml(b"webm2") + bytes(2000)),
    "webm, endless cluster of zeros": _bytes(
        lambda: boxes.ebml(b"webm") + b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"\x1f\x43\xb6\x75\x01" + b"\xff" * 7
        + bytes(3_000_000)
    ),
    "webm, cut before its first picture": _base("vp9.webm", lambda data: data[: data.index(b"\x1f\x43\xb6\x75")]),
    "4 GB of zeros": _sparse(b""),
    "4 GB png": _sparse(boxes.PNG),
    "4 GB mp4 without an index": _sparse(boxes.FTYP + boxes.box(b"mdat", b"", 0)),
    "4 GB webm": _sparse(boxes.ebml(b"webm")),
    "4 GB webp": _sparse(boxes.riff(b"WEBP", b"VP8 ", 2**32 - 9)),
    "zip, then a png": _base("picture.png", lambda data: b"PK\x03\x04" + bytes(40) + data),
    "html, then a jpeg": _base("picture.jpg", lambda data: b"<html><!--" + data),
    "gif, then javascript": _bytes(lambda: b"GIF89a/*" + bytes(40) + b"*/=1;alert(1)"),
    "random": _bytes(lambda: zlib.compress(os.urandom(100_000))),
}  # fmt: skip

HARMLESS: dict[str, Write] = {
    "png, then a zip": _base("picture.png", lambda data: data + b"PK\x03\x04" + bytes(400)),
    "jpeg, then html": _base("picture.jpg", lambda data: data + b"<script>alert(1)</script>"),
    "jpeg, then 4 GB": lambda file: (file.write(good()["picture.jpg"]), file.truncate(4 * GIB)),
    "png whose data unpack to 1 GB": _bytes(lambda: boxes.png(64, 64, boxes.zeros(GIB))),
    "png with a text of 1 GB": _bytes(
        lambda: boxes.png(64, 64, boxes.zeros(64 * 193), boxes.png_chunk(b"zTXt", b"a\0\0" + boxes.zeros(GIB)))
    ),
    "png with a profile of 1 GB": _bytes(
        lambda: boxes.png(64, 64, boxes.zeros(64 * 193), boxes.png_chunk(b"iCCP", b"a\0\0" + boxes.zeros(GIB)))
    ),
    "png of 4096 x 4096, 16 bits": _bytes(
        lambda: boxes.png(4096, 4096, boxes.zeros(4096 * (8 * 4096 + 1)), colour=6, depth=16)
    ),
    "png with a wrong checksum": _base("picture.png", lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:]),
    "png, cut": _base("picture.png", _cut(0.6)),
    "jpeg, cut": _base("picture.jpg", _cut(0.6)),
    "webp, cut": _base("picture.webp", _cut(0.6)),
    "webm, cut": _base("vp9.webm", _cut(0.6)),
    "mp4 whose moov is 4 GB": _base(
        "h264.mp4", lambda data: data.replace(_size_of(data, b"moov"), b"\xff\xff\xff\xffmoov")
    ),
    "mp4, cut": _base("h264.mp4", _cut(0.9)),
    "mp4 that says 16 x 16": _base(
        "h264.mp4", lambda data: data.replace(b"\0\x40\0\x40\0\x48", b"\0\x10\0\x10\0\x48")
    ),
    "mp4 that says 16000 x 12000": _base(
        "h264.mp4", lambda data: data.replace(b"\0\x40\0\x40\0\x48", b"\x3e\x80\x2e\xe0\0\x48")
    ),
    "10,000 pictures in a row": _bytes(lambda: still("png", pattern(8, 8), "rgb24") * 10_000),
}  # fmt: skip


def _size_of(data: bytes, kind: bytes) -> bytes:
    at = data.index(kind)
    return data[at - 4 : at + 4]
