"""Bench of the muxer: speed against the ffmpeg command line, memory against length, cost of the invisible mark."""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from ops.settings import Settings
from schemas.mark_payload import payload_of
from schemas.plan import ChunkSpan, Plan, RenderSettings
from schemas.request import JobRequest, Output, Shot
from stream_processors.mux.assemble import assemble
from stream_processors.mux.encode import CRF, PRESET
from stream_processors.mux.label import plate
from stream_processors.mux.mark import STRENGTH, Embedder, pattern
from stream_processors.mux.seal import Seal, open_seal

FPS, CHUNK_FRAMES = 24, 48
NATIVE = (640, 360)
THREADS = 2
_SHORT_S, _LONG_S = 30, 600
_JOB = "bench/mux"


def run(quick: bool = False) -> dict[str, Any]:
    """Measure. `quick`: short videos and one round, for tests; the figures are then not worth quoting."""
    seconds, rounds = (4, 1) if quick else (20, 7)
    with tempfile.TemporaryDirectory(prefix="reelbus-bench-") as folder:
        work = Path(folder)
        chunks = _make_chunks(work, 2 if quick else 6)
        ours, theirs, label_only = _speed(work, chunks, seconds, rounds)
        lengths = (2, 8) if quick else (_SHORT_S, _LONG_S)
        memory = [_peak_memory_mib(chunks, length) for length in lengths]
        mark_ms = _mark_ms(50 if quick else 500)
    return {
        "bench": "mux",
        "figures": [
            _figure("speed over ffmpeg, same overlays", _ratio(ours, theirs), "ratio", 0.8, at_least=True),
            _figure(
                f"peak memory, {lengths[1]} s over {lengths[0]} s of video",
                memory[1] / memory[0],
                "ratio",
                1.1,
                at_least=False,
            ),
            _figure("invisible mark at 640x360", mark_ms, "ms/frame", 2.0, at_least=False),
        ],
        "machine": {
            "cpus": len(os.sched_getaffinity(0)),
            "cpu": _cpu_model(),
            "python": platform.python_version(),
            "av": av.__version__,
            "load_1m": round(os.getloadavg()[0], 2),
            "quick": quick,
            "speed_over_ffmpeg_without_the_invisible_mark": round(_ratio(ours, label_only), 3),
            "peak_memory_mib": {str(length): round(mib, 1) for length, mib in zip(lengths, memory, strict=True)},
        },
        "peers": [
            {
                "name": "reelbus mux",
                **ours.figures(),
                "did": "every third chunk pans; decode H.264 chunks, scale to 1280x720, invisible mark, label, x264 "
                f"{PRESET} crf {CRF} threads {THREADS}, faststart, thumbnail, contact sheet; result read again "
                "to check it (every time stamp; keyframes, first and last seconds decoded)",
            },
            {
                "name": f"ffmpeg command line ({_ffmpeg_version()})",
                **theirs.figures(),
                "did": "concat demuxer over the same files, scale to 1280x720, the same invisible mark by the blend "
                f"filter, overlay of the same label as PNG, x264 {PRESET} crf {CRF} threads {THREADS}, faststart; "
                "decoder and filter threads at their defaults; no thumbnail, no sheet, no check",
            },
            {
                "name": "ffmpeg command line, label only",
                **label_only.figures(),
                "did": "as above without the invisible mark, which is less work for its filters and for x264",
            },
        ],
    }


def _figure(name: str, value: float, unit: str, bar: float, *, at_least: bool) -> dict[str, Any]:
    rounded = round(value, 3)
    return {
        "name": name,
        "value": rounded,
        "unit": unit,
        "bar": bar,
        "holds": rounded >= bar if at_least else rounded <= bar,
    }


def _make_chunks(work: Path, count: int) -> list[Path]:
    """H.264 chunks as a render worker writes them: a textured scene in which something moves. In every third one the
    camera pans, which is the dearest case for a mark that stands still."""
    random = np.random.default_rng(7)
    noise = random.integers(0, 255, (NATIVE[1] * 2, NATIVE[0] * 2, 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 9).astype(np.float32)
    smooth = 20 + (smooth - smooth.min()) * (215 / np.ptp(smooth))
    world = np.clip(smooth + noise / 20, 0, 255).astype(np.uint8)
    paths = []
    for index in range(count):
        path = work / f"chunk{index}.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=FPS, options={"crf": "12", "preset": "veryfast"})
            stream.width, stream.height = NATIVE
            stream.pix_fmt = "yuv420p"
            for number in range(CHUNK_FRAMES):
                step = index * 30 + (number if index % 3 == 2 else 0)
                picture = world[step : step + NATIVE[1], step : step + NATIVE[0]].copy()
                cv2.circle(picture, (60 + 8 * number, 180), 45, (30, 200, 220), -1)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
            container.mux(stream.encode(None))
        paths.append(path)
    return paths


def _plan(seconds: int) -> Plan:
    count = seconds * FPS // CHUNK_FRAMES
    shot = Shot(prompt="bench", duration_s=count * CHUNK_FRAMES / FPS)
    request = JobRequest(
        job_id="mux", tenant="bench", shots=(shot,), output=Output(width_px=1280, height_px=720, fps=FPS)
    )
    render = RenderSettings(
        model="bench", model_revision="1", steps=1, guidance=1.0, width_px=NATIVE[0], height_px=NATIVE[1],
        clip_frames=CHUNK_FRAMES, given_frames=0,
    )  # fmt: skip
    spans = tuple(ChunkSpan(0, i * CHUNK_FRAMES, CHUNK_FRAMES, -1) for i in range(count))
    return Plan(job=_JOB, request=request, fingerprint="bench", requested_at_ms=0, render=render, chunks=spans)


def _cycle(chunks: list[Path], count: int) -> list[Path]:
    return [chunks[i % len(chunks)] for i in range(count)]


@dataclass(frozen=True)
class _Side:
    """What one side needed in every round."""

    frames: int
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def run(self, work: Callable[[], object]) -> None:
        cpu_s, wall_s = _cpu_s(), time.perf_counter()
        work()
        self.wall_s.append(time.perf_counter() - wall_s)
        self.cpu_s.append(_cpu_s() - cpu_s)

    def figures(self) -> dict[str, float]:
        """For the list of peers."""
        return {
            "frames_per_s": round(self.frames / statistics.median(self.wall_s), 1),
            "cpu_ms_per_frame": round(1000 * statistics.median(self.cpu_s) / self.frames, 2),
        }


def _cpu_s() -> float:
    """Processor time of this process and of the children that it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _speed(work: Path, chunks: list[Path], seconds: int, rounds: int) -> tuple[_Side, _Side, _Side]:
    """Ours, ffmpeg with the same two overlays, ffmpeg with the label alone: rounds in which all run one after the
    other, in turning order."""
    plan = _plan(seconds)
    files = _cycle(chunks, len(plan.chunks))
    both, label = (_ffmpeg_command(work, files, mark=mark) for mark in (True, False))
    count, seal = len(files) * CHUNK_FRAMES, _seal(work)
    sides = _Side(count), _Side(count), _Side(count)
    jobs: tuple[Callable[[], object], ...] = (
        lambda: assemble(plan, files, work, THREADS, seal),
        lambda: subprocess.run(both, check=True, capture_output=True),
        lambda: subprocess.run(label, check=True, capture_output=True),
    )
    for number in range(rounds):
        for turn in range(len(jobs)):
            side = (number + turn) % len(jobs)
            sides[side].run(jobs[side])
    return sides


def _seal(work: Path) -> Seal | None:
    """Ours are signed, with a key of their own; ffmpeg's are not."""
    return open_seal(Settings(data_dir=str(work)))


def _ratio(ours: _Side, theirs: _Side) -> float:
    """Median over rounds of our speed over theirs."""
    return statistics.median(b / a for a, b in zip(ours.wall_s, theirs.wall_s, strict=True))


def _ffmpeg_command(work: Path, files: list[Path], *, mark: bool) -> list[str]:
    """The label as PNG, and with `mark` the invisible mark's pattern, added to luma by the blend filter."""
    import imageio_ffmpeg

    art = plate(1280, 720)
    label, listing, grain = work / "label.png", work / "list.txt", work / "mark.yuv"
    cv2.imwrite(str(label), np.dstack([art.luma, art.luma, art.luma, art.opacity]))
    listing.write_text("".join(f"file '{path}'\n" for path in files))
    offsets = pattern(payload_of(_JOB), 1280, 720, STRENGTH)
    grain.write_bytes((offsets + 128).astype(np.uint8).tobytes() + bytes([128]) * (1280 * 720 // 2))
    picture = "[0:v]scale=1280:720:flags=bicubic,format=yuv420p[v]"
    if mark:
        picture += ";[v][2:v]blend=c0_mode=grainmerge:shortest=1[v]"
    graph = f"{picture};[v][1:v]overlay={art.x_px}:{art.y_px},format=yuv420p"
    raw = ["-stream_loop", "-1", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "1280x720", "-r", str(FPS)]
    return [
        imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "concat", "-safe", "0", "-i", str(listing),
        "-i", str(label), *([*raw, "-i", str(grain)] if mark else []),
        "-filter_complex", graph, "-r", str(FPS), "-c:v", "libx264", "-preset", PRESET,
        "-crf", str(CRF), "-profile:v", "high", "-g", str(2 * FPS), "-threads", str(THREADS), "-movflags", "+faststart",
        str(work / "ffmpeg.mp4"),
    ]  # fmt: skip


def _ffmpeg_version() -> str:
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_version())


def _mark_ms(frames: int) -> float:
    embedder = Embedder(payload_of(_JOB), *NATIVE)
    luma = np.random.default_rng(1).integers(16, 235, (NATIVE[1], NATIVE[0]), dtype=np.uint8)
    out = np.empty_like(luma)
    times = []
    for _ in range(frames):
        begin = time.perf_counter()
        embedder.embed(luma, out)
        times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times)


def _peak_memory_mib(chunks: list[Path], seconds: int) -> float:
    """VmHWM of a fresh process that assembles a video of this length."""
    job = json.dumps({"chunks": [str(path) for path in chunks], "seconds": seconds})
    done = subprocess.run(
        [sys.executable, "-m", "ops.bench.mux"], input=job, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def _peak_memory_child() -> None:
    job = json.load(sys.stdin)
    plan = _plan(job["seconds"])
    with tempfile.TemporaryDirectory(prefix="reelbus-bench-") as folder:
        chunks = _cycle([Path(p) for p in job["chunks"]], len(plan.chunks))
        assemble(plan, chunks, Path(folder), THREADS, _seal(Path(folder)))
    status = Path("/proc/self/status").read_text()
    print(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def _cpu_model() -> str:
    models = [
        line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return models[0] if models else platform.machine()


if __name__ == "__main__":
    _peak_memory_child()
