"""Writes the MP4: H.264 High, yuv420p, BT.709, constant frame rate, index in front, machine-readable AI label."""

import json
from pathlib import Path
from types import TracebackType

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from schemas.ids import job_uid
from schemas.request import Output
from stream_processors.mux.manifest import TITLE

PRESET, CRF = "veryfast", 20
_BT709 = 1
_LIMITED = 1
_KEYFRAME_EVERY_S = 2


def aigc(job: str) -> str:
    """The implicit label of GB 45438-2025 as JSON: Label "1" is "made by AI"; the id is a hash, so it names nobody."""
    fields = {
        "Label": "1",
        "ContentProducer": "reelbus",
        "ProduceID": job_uid(job),
        "ReservedCode1": "",
        "ContentPropagator": "",
        "PropagateID": "",
        "ReservedCode2": "",
    }
    return json.dumps(fields, separators=(",", ":"))


class Encoder:
    """Context manager over one output file; the same frames give the same bytes for the same thread count.

    Memory: x264's look-ahead (about 20 frames with this preset) and about 50 bytes per frame for the MP4 index.
    """

    def __init__(self, path: Path, output: Output, job: str, threads: int) -> None:
        options = {
            "movflags": "use_metadata_tags+faststart",
            "fflags": "+bitexact",
            # The default of 1000 rounds the duration to milliseconds.
            "movie_timescale": str(1000 * output.fps),
        }
        self._container: OutputContainer = av.open(str(path), "w", format="mp4", options=options)
        # No prompt here: whoever gets the file would read it.
        self._container.metadata.update(title=TITLE, comment="Made by AI with reelbus", AIGC=aigc(job))
        self._stream = self._add_stream(output, threads)

    def _add_stream(self, output: Output, threads: int) -> VideoStream:
        options = {"preset": PRESET, "crf": str(CRF), "profile": "high", "threads": str(threads)}
        stream = self._container.add_stream("libx264", rate=output.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = output.width_px, output.height_px, "yuv420p"
        context = stream.codec_context
        context.gop_size = _KEYFRAME_EVERY_S * output.fps
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = _LIMITED
        return stream

    def __enter__(self) -> "Encoder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._container.close()

    def add(self, frame: av.VideoFrame) -> None:
        """Encode the next frame. x264 copies it: its pixels may change when this returns."""
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def finish(self) -> None:
        """Write what the encoder still holds."""
        for packet in self._stream.encode(None):
            self._container.mux(packet)
