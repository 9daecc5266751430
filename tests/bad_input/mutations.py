"""Records of a topic that are nearly right: cut, flipped, spliced, and plain noise."""

import random
from functools import cache

from ops.settings import PACKAGE_ROOT
from schemas.catalog import file_name
from schemas.codec import decode, encode
from schemas.topics import Topic

EXAMPLES = PACKAGE_ROOT / "schemas" / "examples"


@cache
def seeds_of(topic: Topic) -> list[bytes]:
    """Good records of a topic, its golden examples, as JSON and as framed Avro. Not of what it carries besides, whose
    examples have the record's name."""
    assert topic.record is not None
    others = {file_name(kind.__name__) for kind in topic.also}
    files = sorted(file for file in (EXAMPLES / topic.entity).glob("*.json") if file.stem not in others)
    assert files, f"schemas/examples has no record of {topic.entity}"
    records = [decode(topic.record, file.read_bytes()) for file in files]
    return [encode(record, form) for record in records for form in ("avro", "json")]


def mutated(rng: random.Random, good: bytes) -> bytes:
    """One of: cut, bits flipped, a slice taken out, doubled or put elsewhere, a number made huge, noise, a wrong id."""
    raw = bytearray(good)
    at, length = rng.randrange(len(raw)), rng.randrange(1, 20)
    match rng.randrange(8):
        case 0:
            return bytes(raw[:at])
        case 1:
            for _ in range(length):
                raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        case 2:
            del raw[at : at + length]
        case 3:
            raw[at:at] = raw[at : at + length]
        case 4:
            piece = raw[at : at + length]
            to = rng.randrange(len(raw))
            raw[to : to + length] = piece
        case 5:
            raw[at:at] = b"9" * rng.choice((1, 20, 400))
        case 6:
            return rng.randbytes(rng.randrange(200))
        case 7:
            raw[1:5] = rng.randbytes(4) if rng.random() < 0.5 else bytes((0, 0, 0, rng.randrange(40)))
    return bytes(raw)
