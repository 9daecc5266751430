"""Text in frames: read by PP-OCRv6 (Apache-2.0) and judged by the prompt policy, as moderate judges prompts.

The rapidocr wheel carries the weights; run by onnxruntime on one thread, so that a frame always reads the same.
"""

import hashlib
import importlib.resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.bus.pulse import beat
from ops.prompt_policy.policy import Policy
from schemas.errors import Fatal
from schemas.texts import Text
from schemas.work import FrameVerdict
from stream_processors.inspect.core import verdict_of
from stream_processors.inspect.edges import edge_share, to_read
from stream_processors.inspect.service_policies import OcrPolicy

WEIGHTS = {
    "PP-OCRv6_det_small.onnx": "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
    "PP-OCRv6_rec_small.onnx": "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
}
"""SHA-256 by file: for finding lines, for reading them."""
LONGEST_SIDE_PX = 640
"""Of a frame as it is looked through, which is as it was sampled. rapidocr would enlarge it, at thrice the cost."""
CERTAIN, DOUBTFUL = 1.0, 0.5
"""Score of a frame whose text is refused, or left to a person; of others it is 0."""


class Ocr:
    """A FrameModerator. Raises Fatal when the wheel or its weights are missing or altered."""

    def __init__(self, policy: OcrPolicy, prompts: Policy) -> None:
        """prompts: what texts may not say."""
        self._policy, self._prompts = policy, prompts
        self._name = f"rapidocr {version_of_rapidocr()}, {prompts.version}"
        self._engine: Any = _engine(policy.min_confidence)

    def judge(self, frames: NDArray[np.uint8]) -> FrameVerdict:
        """All frames are looked through for edges, and of those that may hold text the likeliest ones are read."""
        picked = to_read([edge_share(frame) for frame in frames], self._policy.max_frames, self._policy.min_edges)
        read = {at: self._judged(self._lines(frames[at])) for at in picked}
        scores = [read.get(at, (0.0, ""))[0] for at in range(len(frames))]
        category = max(read.values(), key=lambda found: found[0], default=(0.0, ""))[1]
        return verdict_of(scores, CERTAIN, self._name, category, DOUBTFUL)

    def _judged(self, lines: list[str]) -> tuple[float, str]:
        """Score and category of the lines, each alone or all together."""
        found = self._prompts.judge([Text("frame", line) for line in lines])
        if found.refusal is not None:
            return CERTAIN, found.refusal.category
        return (DOUBTFUL, found.doubts[0].category) if found.doubts else (0.0, "")

    def _lines(self, frame: NDArray[np.uint8]) -> list[str]:
        beat()
        # OpenCV's order of colours. use_det stays as it was in the last call, which at start was off.
        read = self._engine(np.ascontiguousarray(frame[:, :, ::-1]), use_det=True)
        # Lines that are found and cannot be read come back as another class, without texts.
        return list(getattr(read, "txts", None) or ())


def version_of_rapidocr() -> str:
    """Raises Fatal when it is not installed."""
    try:
        return version("rapidocr")
    except importlib.metadata.PackageNotFoundError:
        raise Fatal("provider ocr needs the extra reelbus[ocr]") from None


def _weights() -> list[str]:
    folder = Path(str(importlib.resources.files("rapidocr"))) / "models"
    for name, expected in WEIGHTS.items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as exc:
            raise Fatal(f"provider ocr: cannot read {folder / name}: {exc.strerror}") from None
        if found != expected:
            raise Fatal(f"provider ocr: {folder / name} has the sha256 {found}; expected {expected}")
    return [str(folder / name) for name in WEIGHTS]


def _engine(min_confidence: float) -> Any:
    from rapidocr import RapidOCR

    find, read = _weights()
    # Paths are given, because the library would otherwise look for its models itself, or download them.
    params = {
        "Global.log_level": "critical", "Global.text_score": min_confidence, "Global.use_cls": False,
        "Det.model_path": find, "Det.limit_type": "max", "Det.limit_side_len": LONGEST_SIDE_PX,
        "Rec.model_path": read,
        "EngineConfig.onnxruntime.intra_op_num_threads": 1, "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    }  # fmt: skip
    try:
        engine = RapidOCR(params=params)
        blank = np.zeros((64, 64, 3), np.uint8)
        # Models are loaded when they are first used: at start, so that a fault stops the stage.
        for use_det in (True, False):
            engine(blank, use_det=use_det)
    except Exception as exc:  # what these raise is of no common kind, and none of it lets the stage start
        raise Fatal(f"provider ocr: {type(exc).__name__}: {exc}") from exc
    return engine
