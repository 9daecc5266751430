"""The closed world: drawing, wordings and the judge agree with each other."""

import random
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_consumers.models.shapes import captions, world
from gpu_consumers.models.shapes.judge import Seen, accuracy, judge

scenes = st.builds(world.Scene, **{name: st.sampled_from(values) for name, values in world.ATTRIBUTES.items()})
randoms = st.integers(0, 2**32).map(random.Random)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """More threads than free cores make small torch work many times slower."""
    torch.set_num_threads(1)


@pytest.mark.parametrize("start", ["inside", "anywhere"])
def test_judge_is_right_on_true_clips(start: world.Start) -> None:
    video, drawn = world.clips(20, random.Random(5), start)
    seen = [judge(clip) for clip in world.to_uint8(video)]
    assert accuracy(seen, drawn) == dict.fromkeys([*world.ATTRIBUTES, "single", "all"], 1.0)


def test_judge_is_wrong_on_shuffled_prompts() -> None:
    video, drawn = world.clips(20, random.Random(6), "inside")
    seen = [judge(clip) for clip in world.to_uint8(video)]
    assert accuracy(seen, drawn[1:] + drawn[:1])["all"] < 0.1


def test_judge_sees_nothing_in_noise_and_in_an_empty_picture() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (17, 64, 64, 3), dtype=np.uint8)
    assert judge(noise) == Seen()
    empty = np.full((17, 64, 64, 3), world.BACKGROUNDS["navy"], np.uint8)
    assert judge(empty) == Seen(background="navy")


def test_judge_counts_objects() -> None:
    scene = world.Scene("red", "circle", "still", "white")
    one = world.to_uint8(world.draw([scene], torch.tensor([[[16.0, 16.0]] * 17])))[0]
    other = world.to_uint8(world.draw([scene], torch.tensor([[[48.0, 48.0]] * 17])))[0]
    assert judge(one) == Seen(*scene.key(), single=True)
    assert not judge(np.minimum(one, other)).single


@settings(deadline=None, max_examples=10)
@given(scenes)
def test_a_clip_is_a_torus(scene: world.Scene) -> None:
    """After 32 frames at 2 pixels a frame a shape has gone once round a plane of 64 pixels."""
    clip = world.draw([scene], world.paths([scene], torch.tensor([[20.0, 40.0]]), frames=33))
    assert torch.allclose(clip[:, :, 0], clip[:, :, 32], atol=1e-4)


def test_changing_clips_change_at_the_given_frame() -> None:
    rng = random.Random(3)
    video, after = world.changing_clips(20, rng, 5, new_look=False)
    frames = world.to_uint8(video)
    for clip, new in zip(frames, after, strict=True):
        assert judge(clip[5:]) == Seen(*new.key(), single=True)


def test_all_scenes_are_360_and_distinct() -> None:
    assert len(set(world.all_scenes())) == 6 * 3 * 5 * 4


@given(scenes, randoms, st.sampled_from(captions.KINDS))
def test_wordings_name_every_attribute(scene: world.Scene, rng: random.Random, kind: str) -> None:
    """A wording names its own attributes by a known word, and no other colour or shape."""
    text = captions.wording(kind, scene, rng).lower()
    assert any(word in text for word in captions.COLOR_WORDS[scene.color])
    assert any(word in text for word in captions.NOUNS[scene.shape])
    assert any(word in text for word in captions.BACKGROUND_WORDS[scene.background])
    others = {word for shape, words in captions.NOUNS.items() if shape != scene.shape for word in words}
    assert not others & set(text.replace(",", " ").replace(".", " ").split())


@given(scenes, randoms)
def test_training_wordings_say_what_they_name(scene: world.Scene, rng: random.Random) -> None:
    text, named = captions.training(scene, rng, left_out=0.5)
    for name, value in asdict(named).items():
        assert value in (None, getattr(scene, name))
    if named.color is None:
        colors = {word for words in captions.COLOR_WORDS.values() for word in words} - {
            "blue"
        }  # "dark blue" background
        assert not colors & set(text.replace(",", " ").replace(".", " ").split())


def test_held_out_plans_never_occur_in_training() -> None:
    rng = random.Random(0)
    training = {captions.training(world.random_scene(rng), rng)[0] for _ in range(3000)}
    assert not training & {captions.held_out(world.random_scene(rng), rng) for _ in range(1000)}


def test_unknown_kind_of_wording_is_refused() -> None:
    with pytest.raises(ValueError, match="haiku"):
        captions.wording("haiku", world.all_scenes()[0], random.Random(0))


@given(scenes)
def test_seen_is_right_only_when_everything_is(scene: world.Scene) -> None:
    seen = Seen(*scene.key(), single=True)
    assert seen.right(scene)
    assert not replace(seen, single=False).right(scene)
    assert not replace(seen, motion="none").right(scene)
