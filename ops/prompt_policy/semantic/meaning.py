"""The semantic check put together: the shipped model and head. Loading takes about a second and 250 MB."""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from ops.prompt_policy.bounds import Score
from ops.prompt_policy.normalise import readings_of_meaning
from ops.prompt_policy.pack import Category
from ops.prompt_policy.semantic import head
from ops.prompt_policy.semantic.encoder import Encoder, shipped
from schemas.errors import Fatal

HEAD_FILE = Path(__file__).parent / "head.safetensors"
MIN_WORDS = 3
"""A word or two alone is the terms' business: its vector says little ("x" is near to what is rated so)."""
MIN_CLAUSE_WORDS = 5
_END = re.compile(r"[.,;:!?\n]+")
REMEMBERED_TEXTS = 2048
"""Batches repeat their prompts. A prompt has at most 2,000 characters, so this is a few megabytes at worst."""


def clauses(text: str) -> list[str]:
    """The parts of a text that say something by themselves, where there are several: beside harmless ones, one of them
    would drown."""
    parts = [part.strip() for part in _END.split(text)]
    long = [part for part in parts if part.count(" ") + 1 >= MIN_CLAUSE_WORDS]
    return long if len(long) > 1 else []


class Meaning:
    """Scores of texts by category. A function of the text: what is remembered is what would be found again."""

    def __init__(self, encoder: Encoder, trained: head.Head) -> None:
        self._encoder, self._head = encoder, trained
        self.scores = lru_cache(REMEMBERED_TEXTS)(self._scores)

    def _scores(self, text: str) -> Mapping[Category, Score]:
        parts = dict.fromkeys(part for reading in readings_of_meaning(text) for part in (reading, *clauses(reading)))
        told = [part for part in parts if len(part.split()) >= MIN_WORDS]
        return self._head.scores(vector for part in told for vector in self._encoder.vectors(part))


def load() -> Meaning:
    """The shipped model and head. Raises Fatal when one is missing or is not what it should be."""
    return Meaning(Encoder(shipped()), read_head(HEAD_FILE))


def read_head(path: Path) -> head.Head:
    """The head of a file. Raises Fatal when it is missing or wrong."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as tensors:
            named = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 - no mapping
            return head.parse(named, (tensors.metadata() or {}).get("categories", ""))
    except (OSError, SafetensorError) as exc:
        raise Fatal(f"cannot read the head of the semantic check {path}: {exc}") from None
