"""Trains the head of the semantic check on the train examples:
`python -m stream_processors.moderate.examples.train [--out FILE]`.

One logistic regression a category, on vectors that stay as they are. Every fourth template, and of harmless texts every
fourth thing that they are about, is held out first, to see what a threshold gives on what was not seen; then all are
used. Two minutes on one core.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from ops.prompt_policy.normalise import fold
from ops.prompt_policy.pack import CATEGORIES
from ops.prompt_policy.semantic.encoder import Encoder, shipped
from ops.prompt_policy.semantic.meaning import HEAD_FILE
from stream_processors.moderate.examples.generate import Example, benign, blocked

BLOCKED_EACH, BENIGN_EACH = 300, 1200
STEPS, RATE, DECAY = 600, 0.05, 3e-4
HARMLESS_WEIGHT = 2.0
"""A harmless text counts for so much more than a blocked one: what is refused wrongly is a customer's job."""
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
Array = NDArray[Any]


def vectors(encoder: Encoder, examples: Sequence[Example]) -> Array:
    """One row an example: its first piece."""
    return np.stack([next(encoder.vectors(fold(example.text))) for example in examples])


def fit(x: Array, y: Array) -> tuple[Array, Array]:
    """Weights and bias of one logistic regression a column of y, by Adam on all rows at once."""
    rare = y.sum(0).clip(1)
    positive = (len(y) / rare).clip(1, 40) / 4 + 1
    harmless = np.where(y.any(1, keepdims=True), 1.0, HARMLESS_WEIGHT)
    importance = np.where(y > 0, positive, harmless) / len(y)
    weights = np.zeros((x.shape[1] + 1, y.shape[1]))
    x1 = np.hstack([x, np.ones((len(x), 1))])
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, STEPS + 1):
        wrong = (1 / (1 + np.exp(-(x1 @ weights))) - y) * importance
        slope = x1.T @ wrong + DECAY * weights
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        weights -= RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    # Contiguous, since safetensors writes the memory as it lies.
    return np.ascontiguousarray(weights[:-1].T, dtype=np.float32), weights[-1].astype(np.float32)


def _labels(examples: Sequence[Example], categories: Sequence[str]) -> Array:
    return np.array([[example.label == category for category in categories] for example in examples], dtype=np.float64)


def _held_out(examples: Sequence[Example]) -> Array:
    """Every fourth template of each category; of the harmless ones every fourth thing that they are about."""
    known = {
        label: [*dict.fromkeys(e.about for e in examples if e.label == label)] for label in {e.label for e in examples}
    }
    return np.array([(e.source if e.label in CATEGORIES else known[e.label].index(e.about)) % 4 == 3 for e in examples])


def _say_what_unseen_templates_give(x: Array, y: Array, examples: Sequence[Example]) -> None:
    out = _held_out(examples)
    weights, bias = fit(x[~out], y[~out])
    scores = (1 / (1 + np.exp(-(x[out] @ weights.T + bias)))).max(1)
    bad = y[out].any(1)
    near = (x[out] @ x[~out & y.any(1)].T).max(1)
    for nearness in (0.6, 0.65, 0.7, 0.75, 0.8, 0.85):
        caught, troubled = (near[bad] >= nearness).mean(), (near[~bad] >= nearness).mean()
        print(f"nearness {nearness}: unseen templates caught {caught:.3f}, harmless troubled {troubled:.4f}")
    for threshold in THRESHOLDS:
        caught, troubled = (scores[bad] >= threshold).mean(), (scores[~bad] >= threshold).mean()
        print(f"threshold {threshold}: unseen templates caught {caught:.3f}, harmless troubled {troubled:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HEAD_FILE)
    out: Path = parser.parse_args().out
    bad = blocked("train", BLOCKED_EACH)
    examples = bad + benign("train", BENIGN_EACH)
    categories: list[str] = [category for category in CATEGORIES if any(example.label == category for example in bad)]
    x, y = vectors(Encoder(shipped()), examples), _labels(examples, categories)
    _say_what_unseen_templates_give(x, y, examples)
    weights, bias = fit(x, y)
    # Of every template its first filling: the others are near to it.
    firsts = sorted({(example.label, example.source): at for at, example in reversed(list(enumerate(bad)))}.values())
    firsts.sort(key=lambda at: categories.index(bad[at].label))
    tensors = {
        "weights": weights,
        "bias": bias,
        "examples": x[firsts].astype(np.float16),
        "of": np.array([categories.index(bad[at].label) for at in firsts]),
    }
    save_file(tensors, out, metadata={"categories": ",".join(categories)})
    print(f"{len(examples)} examples, {len(firsts)} of them kept to compare with; written to {out}")


if __name__ == "__main__":
    main()
