"""From a text's vector to scores by category: a logistic head, and the nearest blocked example. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.prompt_policy.bounds import Score
from ops.prompt_policy.pack import CATEGORIES, Category
from schemas.errors import Fatal

Array = NDArray[np.float32]
WIDTH = 384
"""Numbers in a vector of all-MiniLM-L6-v2."""


@dataclass(frozen=True, slots=True)
class Head:
    """weights: a row a category. bias: a number a category. examples: rows of length 1, those of a category together
    and in the order of the categories. starts: where those of each begin."""

    categories: tuple[Category, ...]
    weights: Array
    bias: Array
    examples: Array
    starts: NDArray[np.int64]

    def scores(self, vectors: Iterable[Array]) -> dict[Category, Score]:
        """The highest scores over the pieces of a text; empty without pieces."""
        rows = list(vectors)
        if not rows:
            return {}
        pieces = np.stack(rows)
        logits = (pieces @ self.weights.T + self.bias).max(0)
        nearness = np.maximum.reduceat((pieces @ self.examples.T).max(0), self.starts)
        probabilities = 1 / (1 + np.exp(-logits))
        return {
            category: Score(probability, near)
            for category, probability, near in zip(
                self.categories, probabilities.tolist(), nearness.tolist(), strict=True
            )
        }


def parse(tensors: Mapping[str, NDArray[Any]], categories: str) -> Head:
    """What the head's file holds -> head. Raises Fatal when its parts do not fit together."""
    names = tuple(category for category in CATEGORIES if category in categories.split(","))
    try:
        weights, bias, examples, of = (tensors[name] for name in ("weights", "bias", "examples", "of"))
    except KeyError as exc:
        raise Fatal(f"the head of the semantic check has no {exc.args[0]}") from None
    fits = (
        ",".join(names) == categories
        and weights.shape == (len(names), WIDTH)
        and bias.shape == (len(names),)
        and examples.shape == (len(of), WIDTH)
        and np.array_equal(np.unique(of), np.arange(len(names)))
        and bool((np.diff(of) >= 0).all())
    )
    if not fits:
        raise Fatal("the head of the semantic check does not fit: weights, bias, examples and categories differ")
    starts = np.searchsorted(of, np.arange(len(names)))
    return Head(names, weights, bias, examples.astype(np.float32), starts)
