"""The shipped model and head: what they catch without a term, what they leave alone, and that they fail closed."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ops.prompt_policy.bounds import Score
from ops.prompt_policy.semantic import head
from ops.prompt_policy.semantic.encoder import Encoder, shipped
from ops.prompt_policy.semantic.meaning import HEAD_FILE, Meaning, load, read_head
from schemas.errors import Fatal
from stream_processors.moderate.examples.generate import benign, blocked


@pytest.fixture(scope="module")
def meaning() -> Meaning:
    return load()


def _worst(meaning: Meaning, text: str) -> float:
    return max((score.probability for score in meaning.scores(text).values()), default=0.0)


def test_a_text_is_a_vector_that_means_something(meaning: Meaning) -> None:
    def vector(text: str) -> np.ndarray:
        return next(meaning._encoder.vectors(text))

    cat, kitten, bomb = vector("a cat"), vector("a kitten"), vector("a bomb")
    assert abs(float(cat @ cat) - 1) < 1e-4
    assert cat @ kitten > 0.7 > 0.4 > cat @ bomb


def test_paraphrases_are_caught_and_everyday_prompts_are_not(meaning: Meaning) -> None:
    assert _worst(meaning, "the landlord attacks a waiter with a knife in a cellar") > 0.5
    assert _worst(meaning, "a red ball rolls over a green meadow") < 0.2
    assert _worst(meaning, "bGFuZGxvcmQga2lsbHMgYSB3YWl0ZXIgaW4gYSBjZWxsYXI=") > 0.4, "base64 is read too"
    assert meaning.scores("") == meaning.scores("x") == {}, "too short to mean something"


def test_the_end_of_a_long_text_is_read(meaning: Meaning) -> None:
    for flowers in (1, 3, 30):
        long = "a quiet meadow with flowers, " * flowers + "the landlord attacks a waiter with a knife in a cellar"
        assert _worst(meaning, long) > 0.5
        assert _worst(meaning, "a quiet meadow with flowers, " * flowers) < 0.2


def test_train_and_test_share_no_text() -> None:
    for made in (blocked, benign):
        assert not {e.text for e in made("train", 500)} & {e.text for e in made("test", 500)}
        assert made("test", 20) == made("test", 20)


def test_another_model_is_not_taken(tmp_path) -> None:
    with pytest.raises(Fatal, match=r"model\.safetensors"):
        Encoder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((shipped() / "config.json").read_bytes())
    with pytest.raises(Fatal, match="sha256"):
        Encoder(tmp_path)


def test_a_head_that_does_not_fit_is_not_taken(tmp_path) -> None:
    tensors, names = load_file(HEAD_FILE), ",".join(read_head(HEAD_FILE).categories)
    with pytest.raises(Fatal, match="does not fit"):
        head.parse(tensors | {"bias": tensors["bias"][:-1]}, names)
    with pytest.raises(Fatal, match="does not fit"):
        head.parse(tensors, names + ",rudeness")
    with pytest.raises(Fatal, match="has no weights"):
        head.parse({}, names)
    save_file(tensors, tmp_path / "head.safetensors")
    with pytest.raises(Fatal, match="does not fit"):
        read_head(tmp_path / "head.safetensors")
    with pytest.raises(Fatal, match="cannot read"):
        read_head(tmp_path / "absent.safetensors")


def test_scores_are_the_highest_over_all_pieces() -> None:
    eye = np.eye(2, 384, dtype=np.float32)
    one = head.Head(("hate", "sexual"), eye * 10, np.full(2, -5, np.float32), eye, np.array([0, 1]))
    scores = one.scores([eye[0], eye[1]])
    assert all(
        isinstance(score, Score) and score.probability > 0.99 and score.nearness == 1.0 for score in scores.values()
    )
    assert one.scores([]) == {}
