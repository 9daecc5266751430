"""Chunk files in, finished and checked files out. No store, no Kafka."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ops.bus.pulse import beat
from schemas.chunks import total_frames
from schemas.mark_keys import PUBLIC
from schemas.mark_payload import payload_of
from schemas.plan import Plan
from stream_processors.mux.carried import Carried
from stream_processors.mux.check import OutputBroken, check_output
from stream_processors.mux.core import check_plan
from stream_processors.mux.encode import Encoder
from stream_processors.mux.label import Labeller
from stream_processors.mux.mark import BOOSTS, CONFIDENCE_KEPT, Reading
from stream_processors.mux.paint import Painter
from stream_processors.mux.prefetch import Prefetch
from stream_processors.mux.seal import Seal
from stream_processors.mux.sheet import Sampler

VIDEO, THUMBNAIL, CONTACT_SHEET = "video.mp4", "thumbnail.jpg", "contact-sheet.png"
CONTENT_TYPES = {VIDEO: "video/mp4", THUMBNAIL: "image/jpeg", CONTACT_SHEET: "image/png"}
_AHEAD = 4
_RING = _AHEAD + 3


@dataclass(frozen=True, slots=True)
class Assembled:
    video: Path
    thumbnail: Path
    contact_sheet: Path
    frames: int
    mark: Reading
    """The invisible mark as read back from the finished file."""
    boost: float
    """Factor on its strength, 1 unless it did not read back clearly at first."""


def assemble(
    plan: Plan,
    chunks: Sequence[Path],
    out_dir: Path,
    threads: int = 2,
    seal: Seal | None = None,
    labeller: Labeller | None = None,
    carried: Carried | None = None,
    key: bytes = PUBLIC,
) -> Assembled:
    """Make the three files of a job in `out_dir`, which exists. `chunks`: one file per chunk of the plan, in its order.

    threads:  of the encoder
    seal:     signs all three files; the signed video is what is checked
    labeller: draws the visible mark, the usual one if left out
    carried:  content credentials of the plan's pictures, for `seal`
    key:      of the invisible mark, the tenant's (schemas.mark_keys)

    The video is made again, with a stronger invisible mark, while the mark does not read back clearly (tiny or very
    busy pictures): nothing leaves unmarked. Peak memory does not depend on the video's length.
    Raises PlanBroken, BadChunk (which chunk), or OutputBroken when the finished video is not what was asked for.
    """
    check_plan(plan, len(chunks))
    frames, payload = total_frames(plan.request), payload_of(plan.job)
    labeller = labeller or Labeller()
    video, thumbnail, contact_sheet = out_dir / VIDEO, out_dir / THUMBNAIL, out_dir / CONTACT_SHEET
    for boost in BOOSTS:
        painter = Painter(plan, chunks, payload, boost, _RING, labeller, key)
        sampler = _encode(plan, painter, video, threads, labeller)
        if seal is not None:
            seal.put(video, CONTENT_TYPES[VIDEO], plan, carried)
        with ThreadPoolExecutor(1) as beside:
            pictures = beside.submit(sampler.write, thumbnail, contact_sheet, payload, key)
            reading = check_output(video, plan.request.output, frames, key)
        pictures.result()
        if reading.says(payload) and reading.confidence >= CONFIDENCE_KEPT:
            break
    if not reading.says(payload):
        raise OutputBroken("the invisible mark cannot be read back at any strength")
    if seal is not None:
        for picture in (thumbnail, contact_sheet):
            seal.put(picture, CONTENT_TYPES[picture.name], plan, carried)
    return Assembled(video, thumbnail, contact_sheet, frames, reading, boost)


def _encode(plan: Plan, painter: Painter, video: Path, threads: int, labeller: Labeller) -> Sampler:
    """Paint in one thread, encode in another: libav, OpenCV and numpy's copies work without the interpreter lock."""
    native = plan.render.width_px, plan.render.height_px
    sampler = Sampler(total_frames(plan.request), plan.request.output, native, labeller)
    with (
        Encoder(video, plan.request.output, plan.job, threads) as encoder,
        Prefetch(painter.frames(), _AHEAD, painter.done) as finished,
    ):
        for number, frame in enumerate(finished):
            beat()
            try:
                encoder.add(frame)
                sampler.see(number, frame)
            finally:
                painter.done(frame)
        encoder.finish()
    return sampler
