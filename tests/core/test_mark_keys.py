"""Keys of the invisible mark: what follows from a master secret, and who reads what (planes, no video)."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from ops import mark_keys
from ops.settings import Settings
from ops.verification import MarkFound
from ops.verify import _best
from ops.verify_keyed import FRAME_BYTES, SEARCHED_KEYS, Frames, KeyedOrder, Tried, whole
from ops.verify_keyed import LIMITS as KEYED_LIMITS
from ops.verify_keyed_child import tried
from schemas.errors import Fatal
from schemas.mark_keys import PUBLIC, MasterKey, parse
from schemas.mark_payload import payload_of
from stream_processors.mux.carriers import carriers
from stream_processors.mux.mark import KEYED_CONFIDENCE, Detector, Embedder, Plane, Reading, grid_of, read
from stream_processors.mux.shell import open_mark_key

MASTER, OTHER = MasterKey(bytes(range(32))), MasterKey(b"x" * 32)
ACME, GLOBEX = MASTER.of("acme"), MASTER.of("globex")
LINE = "00" * 31 + "ab"
PAYLOAD = payload_of("acme/j")


# ---- what follows from a master secret ---------------------------------------------------------------------------


def _digest(key: bytes) -> str:
    found = hashlib.sha256()
    for each in carriers(key):
        found.update(each.rows.astype("<i8").tobytes() + each.columns.astype("<i8").tobytes())
        found.update(each.signs.astype("<f4").tobytes())
    return found.hexdigest()


def test_keys_and_patterns_never_change() -> None:
    """Marked videos are out there for years. The tenant's key was made with openssl dgst -mac HMAC as well."""
    assert MASTER.of("acme").hex() == "7e4587eef495c144fce6fb592104eca3ca88e7d7ed0d8e3a271867e18f391cc2"
    assert MASTER.id == "fbb4449a"
    assert _digest(ACME) == "a9690fb48d619799aee83e9f9d4cbacdccce595f51fec2a2451ed59654315dbe"
    assert _digest(PUBLIC) == "16c9014896c45418f6faf47e8b7175c070ddbadedec60c457263cef62e90094a"


def test_a_key_decides_frequencies_and_signs_and_none_serves_two_bits() -> None:
    frequencies = {(int(u), int(v)) for c in carriers(ACME) for u, v in zip(c.rows, c.columns, strict=True)}
    assert len(frequencies) == 64 * 51
    signs = np.concatenate([c.signs for c in carriers(ACME)])
    assert set(signs.tolist()) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.06
    for other in (PUBLIC, GLOBEX, OTHER.of("acme")):
        shared = [
            len(set(zip(a.rows, a.columns, strict=True)) & set(zip(b.rows, b.columns, strict=True)))
            for a, b in zip(carriers(ACME), carriers(other), strict=True)
        ]
        assert max(shared) < 7, "of 51, as chance has it"


# ---- who reads what ----------------------------------------------------------------------------------------------


def _marked(key: bytes, boost: float = 1.0) -> Plane:
    luma = np.random.default_rng(3).integers(100, 140, (360, 640), dtype=np.uint8)
    Embedder(PAYLOAD, 640, 360, boost, key).embed(luma, luma)
    return luma


@pytest.mark.parametrize("written", [PUBLIC, ACME, GLOBEX, OTHER.of("acme")])
def test_only_the_key_that_marked_reads(written: bytes) -> None:
    luma = _marked(written)
    for key in (PUBLIC, ACME, GLOBEX, OTHER.of("acme")):
        reading = read([luma], key)
        assert reading.says(PAYLOAD) is (key == written)
        assert reading.valid is (key == written)


def test_a_reading_by_key_must_be_clear_and_a_public_one_need_not() -> None:
    """A whole payload at a low confidence: half of the bits are hardly there."""
    strengths = np.where(np.arange(64) % 2, 0.05, 1.0)
    for key in (PUBLIC, ACME):
        spectrum = np.zeros((256, 256), np.float32)
        bits = [int(bit) for bit in f"{int(PAYLOAD, 16):064b}"]
        for bit, strength, each in zip(bits, strengths, carriers(key), strict=True):
            spectrum[each.rows, each.columns] = each.signs * (strength if bit else -strength)
        detector = Detector()
        detector._votes[False] += spectrum
        detector._frames[False] += 1
        reading = detector.read(key)
        assert reading.payload == PAYLOAD
        assert 1 < reading.confidence < KEYED_CONFIDENCE[0]
        assert reading.valid is (key == PUBLIC)


def test_another_payload_or_an_unclear_one_is_not_the_payload() -> None:
    assert Reading(PAYLOAD, True, 3.0, 1).says(PAYLOAD)
    assert not Reading(PAYLOAD, False, 1.2, 1).says(PAYLOAD)
    assert not Reading(PAYLOAD, True, 3.0, 1).says(payload_of("acme/k"))


# ---- many keys ---------------------------------------------------------------------------------------------------


def _order(luma: Plane, keys: list[bytes], *, search: bool = True) -> KeyedOrder:
    return KeyedOrder(Frames(others=grid_of(luma).tobytes()), tuple(keys), KEYED_LIMITS, search)


def _strangers(count: int) -> list[bytes]:
    return [OTHER.of(f"tenant-{number}") for number in range(count)]


def test_the_right_one_of_many_keys_is_told() -> None:
    keys = [*_strangers(200), ACME]
    found = tried(_order(_marked(ACME), keys))
    assert (found.key, found.payload, found.frames, found.searched) == (200, PAYLOAD, 1, 0)
    assert tried(_order(_marked(PUBLIC), keys)) == Tried()


def test_a_cropped_picture_is_searched_with_a_few_keys_and_not_with_many() -> None:
    part = _marked(ACME, 2.0)[20:340, 40:600]
    found = tried(_order(part, [GLOBEX, ACME]))
    assert (found.key, found.payload, found.searched) == (1, PAYLOAD, 2)
    assert tried(_order(part, [GLOBEX])) == Tried(searched=1)
    assert tried(_order(part, [ACME], search=False)) == Tried()
    assert tried(_order(part, [ACME, *_strangers(SEARCHED_KEYS)])) == Tried()


def test_what_the_decoding_child_says_is_checked() -> None:
    """It is taken for hostile: it has no keys, so it knows of no tenant, and its frames are whole or none are."""
    liar = MarkFound(PAYLOAD, True, 3.0, PAYLOAD[:10], 0, 1, tenant="acme", key_id=MASTER.id, keys_tried=9)
    believed = _best(liar, Tried(), ())
    assert (believed.tenant, believed.key_id, believed.keys_tried) == ("", "", 0)
    grid = grid_of(_marked(ACME)).tobytes()
    assert len(grid) == FRAME_BYTES
    assert whole(Frames(keys=grid, others=grid * 2))
    for frames in (Frames(), Frames(others=grid[1:]), Frames(grid[1:], grid)):
        assert not whole(frames)


# ---- the file ----------------------------------------------------------------------------------------------------


def test_the_first_key_marks_and_all_are_read_by() -> None:
    keys = parse(f"# 2027\n{LINE}\n\n  {'CD' * 40}\t\n# 2026\n{'0f' * 32}", "keys")
    assert [key.secret.hex() for key in keys] == [LINE, "cd" * 40, "0f" * 32]
    assert [(each.tenant, each.key_id) for each in mark_keys.of_tenants(keys[:2], ["a", "b"])] == [
        ("a", keys[0].id),
        ("b", keys[0].id),
        ("a", keys[1].id),
        ("b", keys[1].id),
    ]
    assert LINE not in repr(keys)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "keys: holds no key; make one with: openssl rand -hex 32"),
        ("# none yet\n", "holds no key"),
        ("ab" * 31, "line 1: 62 digits; expected 64 or more"),
        (f"{LINE}\n{'ab' * 31}c\n", "line 2: is not hexadecimal with two digits a byte"),
        ("correct horse battery staple correct horse battery staple", "line 1: is not hexadecimal"),
        (f"{LINE}\n# again\n{LINE}", "line 3: the same key as in line 1"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_without_the_key(text: str, words: str) -> None:
    with pytest.raises(Fatal) as caught:
        parse(text, "keys")
    assert words in str(caught.value)
    assert not any(word in str(caught.value) for word in (LINE, "ab" * 31, "horse"))


def _file(folder: Path, content: bytes, mode: int = 0o600) -> str:
    path = folder / "mark.keys"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_mux_takes_the_first_key_of_a_file_that_only_it_can_read(tmp_path: Path) -> None:
    path = _file(tmp_path, f"{LINE}\n{'cd' * 32}\n".encode(), 0o640)
    assert open_mark_key(Settings(mark_key_file=path)) == MasterKey(bytes.fromhex(LINE))
    assert open_mark_key(Settings()) is None


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (LINE.encode(), 0o644, r"everybody may read or write it \(mode 0644\); chmod o-rwx .*mark\.keys"),
        (LINE.encode(), 0o602, "everybody may read or write it"),
        (b"\xff" * 32, 0o600, "is not text; expected keys in hexadecimal"),
        (b"ab" * 40_000, 0o600, "larger than 64 KiB"),
        (b"abcd", 0o600, r"line 1: 4 digits; expected 64"),
    ],
)
def test_a_file_that_is_no_good_stops_mux_at_its_start(content: bytes, mode: int, words: str, tmp_path: Path) -> None:
    with pytest.raises(Fatal, match=rf"^REELBUS_MARK_KEY_FILE \(.*{words}"):
        open_mark_key(Settings(mark_key_file=_file(tmp_path, content, mode)))


def test_a_file_that_is_not_there_stops_mux_at_its_start(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match=r"none\): cannot be read: No such file .*expected a file of keys, mode 0600"):
        open_mark_key(Settings(mark_key_file=str(tmp_path / "none")))
