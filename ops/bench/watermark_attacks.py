"""What happens to a video out there: encoded by somebody else, scaled, cropped, cut, covered; by PyAV's encoders."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from stream_processors.mux.planes import planes_of

Luma = NDArray[np.uint8]
Filters = tuple[tuple[str, str], ...]
"""libavfilter filters and their arguments, one after the other."""
SOURCE_FRAMES = 48
"""Frames that an attack takes from the start of a clip, unless it is a cut."""
_X264 = {"crf": "23", "preset": "veryfast"}


@dataclass(frozen=True, slots=True)
class Attack:
    """One way to handle a video.

    bar:     share of payloads that must come out whole
    cut:     frames that are kept
    options: of the encoder; None leaves the file as it is
    filters: given a random generator and the size, what is done to the pictures
    paint:   changes the luma plane in place
    """

    name: str
    bar: float = 0.99
    codec: str = "libx264"
    options: tuple[tuple[str, str], ...] | None = tuple(_X264.items())
    cut: range = range(SOURCE_FRAMES)
    filters: Callable[[np.random.Generator, int, int], Filters] = lambda _random, _width, _height: ()
    paint: Callable[[Luma], None] | None = None
    rate: int = 24


def _h264(crf: int) -> tuple[tuple[str, str], ...]:
    return (("crf", str(crf)), ("preset", "veryfast"))


def _scaled(factor: float) -> Callable[[np.random.Generator, int, int], Filters]:
    return lambda _, width, height: (
        ("scale", f"{round(width * factor / 2) * 2}:{round(height * factor / 2) * 2}:flags=bicubic"),
    )


def _cropped(share_x: float, share_y: float) -> Callable[[np.random.Generator, int, int], Filters]:
    """That share of width and height is cut away, more on one side than on the other by chance."""

    def filters(random: np.random.Generator, width: int, height: int) -> Filters:
        kept = round(width * (1 - share_x) / 2) * 2, round(height * (1 - share_y) / 2) * 2
        left, top = (2 * int(random.integers(0, (n - k) // 2 + 1)) for n, k in zip((width, height), kept, strict=True))
        return (("crop", f"{kept[0]}:{kept[1]}:{left}:{top}"),)

    return filters


def _brighter(luma: Luma) -> None:
    luma[:] = np.clip(luma.astype(np.int16) + 25, 16, 235)


def _flatter(luma: Luma) -> None:
    luma[:] = np.clip((luma.astype(np.float32) - 126) * 0.75 + 126, 16, 235)


def _steeper(luma: Luma) -> None:
    luma[:] = np.clip((luma.astype(np.float32) - 126) * 1.3 + 126, 16, 235)


def _logo(luma: Luma) -> None:
    """An opaque plate with bars over 3 % of the picture, bottom right."""
    height, width = luma.shape
    plate = luma[height * 3 // 4 : height * 7 // 8, width * 5 // 7 : width * 20 // 21]
    plate[:] = 225
    plate[plate.shape[0] // 4 : -plate.shape[0] // 4, ::8] = 30


ATTACKS = (
    Attack("as published", options=None),
    Attack("H.264 CRF 18", options=_h264(18)),
    Attack("H.264 CRF 23", options=_h264(23)),
    Attack("H.264 CRF 28", options=_h264(28)),
    Attack("H.264 CRF 35", options=_h264(35)),
    Attack(
        "H.265 CRF 28",
        codec="libx265",
        options=(("crf", "28"), ("preset", "veryfast"), ("x265-params", "log-level=0:pools=1")),
    ),
    Attack("AV1 CRF 35", codec="libsvtav1", options=(("crf", "35"), ("preset", "10"), ("svtav1-params", "lp=1"))),
    Attack(
        "VP9 CRF 35",
        codec="libvpx-vp9",
        options=(("crf", "35"), ("b", "0"), ("deadline", "realtime"), ("cpu-used", "8")),
    ),
    Attack("half size, CRF 28", options=_h264(28), filters=_scaled(0.5)),
    Attack("1.5 times the size, CRF 28", options=_h264(28), filters=_scaled(1.5)),
    Attack("crop 5 %", filters=_cropped(0.05, 0.05)),
    Attack("crop 10 %", filters=_cropped(0.1, 0.1)),
    Attack("crop 20 %", bar=0.9, filters=_cropped(0.2, 0.2)),
    Attack("crop 15 % of the width", filters=_cropped(0.15, 0.0)),
    Attack("brightness + 25", paint=_brighter),
    Attack("contrast x 0.75", paint=_flatter),
    Attack("contrast x 1.3", paint=_steeper),
    Attack("3 s cut", cut=range(13, 85)),
    Attack("frame rate 24 to 15", filters=lambda *_: (("fps", "15"),), rate=15),
    Attack("frame rate 24 to 30", filters=lambda *_: (("fps", "30"),), rate=30),
    Attack("logo overlay", paint=_logo),
    Attack("GIF, 128 colours, half size, 12 a second", bar=0.9, codec="gif", options=(), rate=12),
)


def present(attack: Attack) -> bool:
    """True if this machine's PyAV has the encoder."""
    return attack.codec in av.codecs_available


def handled(attack: Attack, frames: Sequence[av.VideoFrame], target: Path, seed: int) -> Path:
    """The file that comes out; `frames` are those of the published video."""
    chosen = [_copy(frame) for frame in frames[attack.cut.start : attack.cut.stop]]
    if attack.paint is not None:
        for frame in chosen:
            attack.paint(planes_of(frame).luma)
    if attack.codec == "gif":
        return _encoded(attack, list(_in_palette(chosen)), target.with_suffix(".gif"))
    filters = attack.filters(np.random.default_rng(seed), chosen[0].width, chosen[0].height)
    return _encoded(attack, list(_filtered(chosen, filters)) if filters else chosen, target.with_suffix(".mkv"))


def _copy(frame: av.VideoFrame) -> av.VideoFrame:
    copy = av.VideoFrame.from_ndarray(frame.to_ndarray(), format=frame.format.name)
    copy.pts, copy.time_base = frame.pts, frame.time_base
    return copy


def _filtered(frames: Sequence[av.VideoFrame], filters: Filters) -> Iterator[av.VideoFrame]:
    graph, first = Graph(), frames[0]
    source = graph.add_buffer(
        width=first.width, height=first.height, format=first.format, time_base=first.time_base or Fraction(1, 24)
    )
    graph.link_nodes(source, *(graph.add(name, words) for name, words in filters), graph.add("buffersink")).configure()
    yield from _through(graph, frames)


def _in_palette(frames: Sequence[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """As people make GIFs with ffmpeg: one palette for all, error diffusion."""
    graph, first = Graph(), frames[0]
    source = graph.add_buffer(
        width=first.width, height=first.height, format=first.format, time_base=first.time_base or Fraction(1, 24)
    )
    chain = [source, graph.add("fps", "12"), graph.add("scale", f"{first.width // 2}:-2:flags=lanczos")]
    split, palette, use = graph.add("split"), graph.add("palettegen", "max_colors=128"), graph.add("paletteuse")
    sink = graph.add("buffersink")
    for one, other in zip(chain, [*chain[1:], split], strict=True):
        one.link_to(other)
    split.link_to(use, 0, 0)
    split.link_to(palette, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    yield from _through(graph, frames)


def _through(graph: Graph, frames: Sequence[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    for frame in [*frames, None]:
        graph.push(frame)
        while True:
            try:
                out = graph.pull()
            except (av.BlockingIOError, av.EOFError):
                break
            assert isinstance(out, av.VideoFrame)
            yield out


def _encoded(attack: Attack, frames: Sequence[av.VideoFrame], target: Path) -> Path:
    with av.open(str(target), "w") as container:
        stream = container.add_stream(
            attack.codec, rate=attack.rate, options={**dict(attack.options or ()), "threads": "1"}
        )
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = frames[0].width, frames[0].height
        stream.pix_fmt = "pal8" if attack.codec == "gif" else "yuv420p"
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, attack.rate)
            frame.pict_type = av.video.frame.PictureType.NONE
            container.mux(stream.encode(frame))
            _in_turn()
        container.mux(stream.encode(None))
    return target


def _in_turn() -> None:
    """SVT-AV1 makes its threads real-time ones when it runs as root: everything else on the machine would starve."""
    if not hasattr(os, "sched_setscheduler"):
        return
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # it has ended
            if os.sched_getscheduler(int(thread)) in (os.SCHED_FIFO, os.SCHED_RR):
                os.sched_setscheduler(int(thread), os.SCHED_OTHER, os.sched_param(0))
