"""Mutated pictures and clips against the decoder: `python -m tests.hostile.media_fuzz --mutations 20000`.

A mutation is a function of seed and number alone, so any one can be made again: `mutation(seed, number)`. Most go
through a long-lived child (fuzz_child.py), replaced when it dies; every `WHOLE_EVERY`th goes the way of the product, a
child of its own. Prints one line of JSON; exits with 1 when something that must hold did not.
"""

import argparse
import random
import selectors
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import psutil

from ops.media.decoding import NotDecodable, decode
from ops.sandbox.child import ENVIRONMENT, ROOT
from tests.hostile.fuzz_child import SIDE, Verdict
from tests.hostile.good_media import good

WHOLE_EVERY = 100
ANSWER_S = 12.0
"""Longest wait for one file: the product's limit of processor time, and room for a busy machine."""
PIXEL_BYTES = SIDE * SIDE * 3
MOST_CHILD_BYTES, MOST_GROWTH_BYTES = 400 << 20, 20 << 20
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 16000, 65535)


def mutation(seed: int, number: int) -> tuple[str, bytes]:
    """Name of the file that it began as, and its bytes."""
    chance = random.Random(f"{seed}:{number}")
    names = sorted(good())
    name = chance.choice(names)
    data = bytearray(good()[name])
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        _change(data, chance, good()[chance.choice(names)])
    return name, bytes(data)


def _change(data: bytearray, chance: random.Random, other: bytes) -> None:
    if not data:
        return
    # Most of what a parser decides on stands in the first kilobyte.
    at = chance.randrange(min(len(data), 1024) if chance.random() < 0.7 else len(data))
    span = chance.choice((1, 2, 4, 8, 64, 512))
    match chance.randrange(9):
        case 0:
            data[at] ^= 1 << chance.randrange(8)
        case 1:
            data[at] = chance.randrange(256)
        case 2:
            order = chance.choice("<>")
            data[at : at + 4] = struct.pack(order + "I", chance.choice(_NUMBERS))
        case 3:
            del data[at : at + span]
        case 4:
            data[at:at] = chance.randbytes(span)
        case 5:
            data[at:at] = data[at : at + span] * chance.choice((1, 2, 100))
        case 6:
            del data[at + 1 :]
        case 7:
            data[at : at + span] = bytes(span)
        case _:
            start = chance.randrange(len(other))
            data[at : at + span] = other[start : start + span]


class Child:
    """The long-lived decoder; started when it is needed."""

    def __init__(self) -> None:
        self.started = 0
        self._process: subprocess.Popen[bytes] | None = None

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.hostile.fuzz_child"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                cwd=ROOT, env=ENVIRONMENT, start_new_session=True,
            )  # fmt: skip
            self.started += 1
            assert self._process.stdout is not None
            guards = msgspec.json.decode(self._process.stdout.readline(), type=tuple[str, ...])
            if "system-calls" not in guards and sys.platform == "linux":
                raise SystemExit(f"the filter of system calls does not hold: {guards}")
        return self._process

    def look(self, data: bytes) -> Verdict | str:
        """What the child said, or how it died."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(struct.pack(">I", len(data)) + data)
            process.stdin.flush()
        except BrokenPipeError:
            return self.end()
        with selectors.DefaultSelector() as ready:
            ready.register(process.stdout, selectors.EVENT_READ)
            if not ready.select(ANSWER_S):
                process.kill()
                self.end()
                return "took too long"
        line = process.stdout.readline()
        return msgspec.json.decode(line, type=Verdict) if line else self.end()

    def end(self) -> str:
        """Its exit status in words; the next file gets a new one."""
        if self._process is None:
            return ""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        status = self._process.wait()
        self._process = None
        return f"died with status {status}"


def _whole(data: bytes, path: Path) -> str:
    path.write_bytes(data)
    try:
        return "pixels" if len(decode(path, SIDE, SIDE).rgb) == PIXEL_BYTES else "wrong length"
    except NotDecodable:
        return "refused"


def run(mutations: int, seed: int, first: int = 0) -> dict[str, Any]:
    """The report. `broken` names what must hold and did not, with the mutations' numbers."""
    good()
    parent, child, began_s = psutil.Process(), Child(), time.monotonic()
    outcomes: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    deaths: dict[str, list[int]] = {}
    broken: list[str] = []
    child_bytes = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        _whole(b"x", path)
        child.look(b"x")
        before = most = parent.memory_info().rss
        for number in range(first, first + mutations):
            _, data = mutation(seed, number)
            if number % WHOLE_EVERY == 0:
                whole[_whole(data, path)] += 1
            match child.look(data):
                case Verdict(error, pixels, _, peak):
                    outcomes["refused" if error else "pixels"] += 1
                    child_bytes = max(child_bytes, peak)
                    if not error and pixels != PIXEL_BYTES:
                        broken.append(f"{number}: {pixels} bytes")
                case death:
                    outcomes["child died"] += 1
                    deaths.setdefault(death, []).append(number)
            most = max(most, parent.memory_info().rss)
    child.end()
    if most - before > MOST_GROWTH_BYTES:
        broken.append(f"the parent grew by {most - before} bytes")
    if child_bytes > MOST_CHILD_BYTES:
        broken.append(f"a child had {child_bytes} bytes")
    if whole["wrong length"]:
        broken.append("a child of its own gave pixels of a wrong length")
    return {
        "seed": seed, "first": first, "mutations": mutations, "files": sorted(good()), "outcomes": dict(outcomes),
        "child_deaths": deaths, "children_started": child.started, "in_a_child_of_their_own": dict(whole),
        "parent_crashes": 0, "parent_growth_bytes": most - before, "child_peak_rss_bytes": child_bytes,
        "seconds": round(time.monotonic() - began_s, 1), "broken": broken,
    }  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--json", type=Path, help="write the report there as well")
    given = parser.parse_args()
    report = run(given.mutations, given.seed, given.first)
    text = msgspec.json.encode(report).decode()
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n")
    sys.exit(1 if report["broken"] else 0)


if __name__ == "__main__":
    main()
