"""Pieces of media files, written by hand where no encoder would write them."""

import struct
import zlib

PNG = b"\x89PNG\r\n\x1a\n"


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Length, type, data, checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width_px: int, height_px: int, data: bytes, *extra: bytes, colour: int = 2, depth: int = 8) -> bytes:
    """A PNG file; `data` is the compressed picture, `extra` are chunks before it."""
    head = struct.pack(">IIBBBBB", width_px & 0xFFFFFFFF, height_px & 0xFFFFFFFF, depth, colour, 0, 0, 0)
    return PNG + png_chunk(b"IHDR", head) + b"".join(extra) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def zeros(size_bytes: int) -> bytes:
    """So many zero bytes, deflated: about a thousandth of it."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [packer.compress(block[: min(len(block), size_bytes - done)]) for done in range(0, size_bytes, len(block))]
    return b"".join([*parts, packer.flush()])


def box(kind: bytes, data: bytes, size: int | None = None) -> bytes:
    """An ISO box; `size` may lie."""
    return struct.pack(">I4s", len(data) + 8 if size is None else size, kind) + data


FTYP = box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41")


def nested(kind: bytes, depth: int) -> bytes:
    """Boxes in boxes."""
    data = b""
    for _ in range(depth):
        data = box(kind, data)
    return data


def ebml(doctype: bytes) -> bytes:
    """An EBML head."""
    inside = b"\x42\x82" + bytes([0x80 | len(doctype)]) + doctype
    return b"\x1a\x45\xdf\xa3" + bytes([0x80 | len(inside)]) + inside


def riff(kind: bytes, data: bytes, size: int | None = None) -> bytes:
    """A RIFF file; `size` may lie."""
    return b"RIFF" + struct.pack("<I", len(data) + 4 if size is None else size) + kind + data


def jpeg_of(width_px: int, height_px: int, jpeg: bytes) -> bytes:
    """The JPEG with another size in its header."""
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 5] + struct.pack(">HH", height_px, width_px) + jpeg[at + 9 :]
