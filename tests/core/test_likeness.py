"""Which texts count as alike. The shares are those that docs/how-to/audit.md names, with some room."""

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.prompt_policy.likeness import ALIKE_BITS, as_words, differing_bits, likeness
from stream_processors.moderate.examples.generate import benign, blocked

CHANCE = random.Random(5)


def differing(one: str, other: str) -> int:
    (sign,), others = as_words(bytes.fromhex(likeness([one]))), as_words(bytes.fromhex(likeness([other])))
    return int(differing_bits(sign, others)[0])


def at_a_word(text: str, change: Callable[[list[str], int], list[str]]) -> str:
    words = text.split()
    return " ".join(change(words, CHANCE.randrange(len(words))))


CHANGES: dict[str, tuple[Callable[[str], str], float]] = {
    "capitals": (str.upper, 1.0),
    "spaced": (" ".join, 0.97),
    "leet": (lambda text: text.translate(str.maketrans("eao", "340")), 0.97),
    "typo": (lambda text: text[: len(text) // 2] + "x" + text[len(text) // 2 + 1 :], 0.97),
    "word added": (lambda text: at_a_word(text, lambda words, i: [*words[:i], "really", *words[i:]]), 0.94),
    "word left out": (lambda text: at_a_word(text, lambda words, i: words[:i] + words[i + 1 :]), 0.93),
    "word changed": (lambda text: at_a_word(text, lambda words, i: [*words[:i], "purple", *words[i + 1 :]]), 0.78),
    "halves in turn": (
        lambda text: at_a_word(text, lambda words, i: words[len(words) // 2 :] + words[: len(words) // 2]),
        0.97,
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_tried_again_in_another_spelling_or_with_another_word_is_alike(change: str) -> None:
    changed, bar = CHANGES[change]
    texts = [example.text for example in blocked("test", 40)]
    alike = [differing(text, changed(text)) <= ALIKE_BITS for text in texts]
    assert sum(alike) >= bar * len(texts)


def test_different_harmless_texts_are_not_alike() -> None:
    signs = as_words(b"".join(bytes.fromhex(likeness([example.text])) for example in benign("test", 200)))
    alike = sum(int((differing_bits(sign, signs[:number]) <= ALIKE_BITS).sum()) for number, sign in enumerate(signs))
    assert alike <= 0.0015 * len(signs) * (len(signs) - 1) / 2


def test_the_sign_of_a_text_is_the_same_in_every_release() -> None:
    assert likeness(["a red ball rolls", "over a blue floor"]) == "1dac0591907233d97d940636e61911a0"


@given(st.lists(st.text(max_size=60), max_size=4))
def test_any_texts_have_a_sign_that_does_not_depend_on_their_order(texts: list[str]) -> None:
    sign = likeness(texts)
    assert sign == likeness(reversed(texts))
    assert len(sign) == (32 if any(letter.isalnum() for text in texts for letter in text) or sign else 0)


def test_words_are_as_the_bytes_say() -> None:
    assert np.array_equal(differing_bits(as_words(bytes(16))[0], as_words(bytes(16) + bytes(15) + b"\x07")), [0, 3])
