"""inspect: which frames, which verdicts, which policies."""

import itertools
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.settings import PACKAGE_ROOT
from schemas.errors import Fatal, InvalidMessage
from schemas.ids import chunk_object_key
from schemas.work import ChunkRendered, FrameVerdict, ObjectRef
from stream_processors.inspect import core

SHIPPED = Path(core.__file__).with_name("policy.toml")


KEY = chunk_object_key("default", "c" * 64)


def rendered(**changes: object) -> ChunkRendered:
    fields: dict[str, object] = {
        "job": "default/j1", "index": 0, "attempt": 1, "chunk_id": "c" * 64, "pool": "cpu", "worker_id": "w",
        "status": "rendered", "frames": 24, "object": ObjectRef(key=KEY, sha256="0" * 64, size_bytes=10),
    }  # fmt: skip
    return ChunkRendered(**(fields | changes))  # type: ignore[arg-type]


@given(
    frames=st.integers(1, 5000),
    fps=st.floats(1, 120),
    per_second=st.floats(0.1, 60),
    max_frames=st.integers(2, 64),
)
def test_samples_hold_first_and_last_and_stay_in_bounds(
    frames: int, fps: float, per_second: float, max_frames: int
) -> None:
    picked = core.sample_indices(frames, fps, per_second, max_frames)
    assert picked[0] == 0
    assert picked[-1] == frames - 1
    assert list(picked) == sorted(set(picked))
    assert min(2, frames) <= len(picked) <= max_frames
    gaps = [b - a for a, b in itertools.pairwise(picked)]
    if gaps:
        assert max(gaps) - min(gaps) <= 1, "evenly spread"
    if 2 < len(picked) < min(max_frames, frames):
        assert max(gaps) <= fps / per_second + 1, "no stretch longer than asked for goes unseen"


@pytest.mark.parametrize(
    ("frames", "fps", "expected"),
    [
        (1, 24, (0,)),
        (2, 24, (0, 1)),
        (24, 24, (0, 23)),
        (49, 24, (0, 24, 48)),
        (24 * 60, 24, (0, 206, 411, 617, 822, 1028, 1233, 1439)),
    ],
)
def test_samples_of_known_chunks(frames: int, fps: float, expected: tuple[int, ...]) -> None:
    assert core.sample_indices(frames, fps, 1.0, 8) == expected


@pytest.mark.parametrize(
    ("scores", "verdict", "score"),
    [
        ([0.1, 0.59], "allow", 0.59),
        ([0.1, 0.6], "block", 0.6),
        ([0.99, 0.0], "block", 0.99),
        ([0.1, math.nan], "block", 1.0),
        ([math.nan, 0.1], "block", 1.0),
        ([math.inf], "block", 1.0),
    ],
)
def test_highest_score_decides_and_nan_blocks(scores: list[float], verdict: str, score: float) -> None:
    found = core.verdict_of(scores, 0.6, "p 1", "sexual")
    assert (found.verdict, found.score, found.frames_checked) == (verdict, score, len(scores))
    assert found.category == ("sexual" if verdict == "block" else "")


@pytest.mark.parametrize(
    ("score", "verdict"), [(0.19, "allow"), (0.2, "review"), (0.59, "review"), (0.6, "block"), (math.nan, "block")]
)
def test_between_what_passes_and_what_is_blocked_a_person_is_asked(score: float, verdict: str) -> None:
    found = core.verdict_of([0.0, score], 0.6, "p 1", "sexual", review_from=0.2)
    assert (found.verdict, found.category) == (verdict, "" if verdict == "allow" else "sexual")


def test_a_block_outweighs_a_doubt_and_a_doubt_an_allow() -> None:
    allow, block = core.verdict_of([0.3], 0.6, "a", "x"), core.verdict_of([0.7], 0.6, "b", "x")
    doubt, worse = (core.verdict_of([score], 0.6, "c", "x", review_from=0.2) for score in (0.3, 0.5))
    both = core.combine([allow, doubt, worse])
    assert (both.verdict, both.category, both.score) == ("review", "x", 0.5)
    assert both.provider == "a, c, c", "all have looked"
    assert core.combine([doubt, block, worse]) == block


def test_a_band_that_begins_where_frames_are_blocked_is_refused() -> None:
    provider = '[[providers]]\nname = "opennsfw"\nthreshold = 0.5\nreview_from = {}\n'
    assert core.parse_policy(provider.format(0.4)).providers[0].review_from == 0.4  # type: ignore[union-attr]
    with pytest.raises(Fatal, match=r"review_from: found 0\.5, threshold is 0\.5"):
        core.parse_policy(provider.format(0.5))


def test_any_block_blocks_and_keeps_its_provider() -> None:
    allow = FrameVerdict(verdict="allow", provider="a 1", frames_checked=4, score=0.3)
    block = FrameVerdict(verdict="block", provider="b 2", frames_checked=4, category="known-image", score=0.95)
    assert core.combine([allow, block]) == block
    assert core.combine([block, allow]) == block
    both = core.combine([allow, FrameVerdict(verdict="allow", provider="b 2", frames_checked=3, score=0.4)])
    assert (both.verdict, both.provider, both.frames_checked, both.score) == ("allow", "a 1, b 2", 3, 0.4)


def test_shipped_policy_is_valid_and_moderates() -> None:
    policy = core.parse_policy(SHIPPED.read_text())
    assert any(isinstance(p, core.OpenNsfwPolicy) for p in policy.providers)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[providers]]\nname='clairvoyant'", "unknown provider 'clairvoyant'; known are azure, blocklist"),
        ("[[providers]]\nthreshold=0.5", "unknown provider None; known are azure, blocklist"),
        ("providers=['opennsfw']", "unknown provider None"),
        ("providers=[]", "providers"),
        ("", "providers"),
        ("[[providers]]\nname='opennsfw'", "threshold"),
        ("[[providers]]\nname='opennsfw'\nthreshold=0", "threshold"),
        ("[[providers]]\nname='opennsfw'\nthreshold=1.5", "threshold"),
        ("[[providers]]\nname='opennsfw'\nthreshold=nan", "threshold"),
        ("[[providers]]\nname='opennsfw'\nthreshold=0.5\ntreshold=1", "treshold"),
        ("[[providers]]\nname='blocklist'\nhashes=[]", "hashes"),
        ("[[providers]]\nname='blocklist'\nhashes=['xyz']", "hashes"),
        ("max_frames=1\n[[providers]]\nname='opennsfw'\nthreshold=0.5", "max_frames"),
        ("max_frames=5\nscene_changes=4\n[[providers]]\nname='opennsfw'\nthreshold=0.5", "scene_changes: found 4; exp"),
        ("frames_per_second=0\n[[providers]]\nname='opennsfw'\nthreshold=0.5", "frames_per_second"),
        ("x=1\n[[providers]]\nname='opennsfw'\nthreshold=0.5", "x"),
        ("[[providers", "not valid TOML"),
    ],
)
def test_a_wrong_policy_stops_the_stage_and_names_the_fault(text: str, said: str) -> None:
    with pytest.raises(Fatal, match="frame policy") as caught:
        core.parse_policy(text)
    assert said in str(caught.value)


def test_the_examples_of_the_how_to_and_of_the_shipped_policy_are_policies() -> None:
    page = (PACKAGE_ROOT / "docs" / "how-to" / "moderate-frames.md").read_text()
    shown = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    commented = re.findall(r"^# (\[\[providers\]\]\n(?:# .*\n?)+)", SHIPPED.read_text(), re.MULTILINE)
    shown += [text.replace("\n# ", "\n") for text in commented]
    named = {core.parse_policy(text).providers[0].__struct_config__.tag for text in shown}
    assert named == set(core.KNOWN_PROVIDERS) - {"opennsfw"}


def test_digest_follows_the_meaning_of_a_policy() -> None:
    def digest(text: str) -> str:
        return core.policy_digest(core.parse_policy(text))

    one = digest("[[providers]]\nname='opennsfw'\nthreshold=0.5")
    assert digest("# note\nframes_per_second = 1.0\n[[providers]]\nthreshold=0.50\nname='opennsfw'") == one
    assert digest("[[providers]]\nname='opennsfw'\nthreshold=0.51") != one


def test_what_must_be_fetched() -> None:
    chunk = rendered()
    assert core.object_to_inspect(chunk) == chunk.object
    assert core.object_to_inspect(rendered(status="failed", object=None, error="out of memory")) is None
    with pytest.raises(InvalidMessage, match="object: missing"):
        core.object_to_inspect(rendered(object=None))
    with pytest.raises(InvalidMessage, match="frames: 0"):
        core.object_to_inspect(rendered(status="reused", frames=0))


@pytest.mark.parametrize("key", ["videos/abc/video.mp4", "../x", "", chunk_object_key("other", "c" * 64), KEY + "x"])
def test_a_record_cannot_name_another_object(key: str) -> None:
    forged = ObjectRef(key=key, sha256="0" * 64, size_bytes=10)
    with pytest.raises(InvalidMessage, match=r"object\.key"):
        core.object_to_inspect(rendered(object=forged))


@pytest.mark.parametrize("name", ["../../videos/x", "C" * 64, "c" * 63 + "`", ""])
def test_a_chunk_whose_name_is_none_of_ours_is_refused_even_with_a_key_to_it(name: str) -> None:
    forged = ObjectRef(key=chunk_object_key("default", name), sha256="0" * 64, size_bytes=10)
    with pytest.raises(InvalidMessage, match="chunk_id"):
        core.object_to_inspect(rendered(chunk_id=name, object=forged))


def test_an_unusable_chunk_becomes_a_failed_one_that_still_counts_its_device_time() -> None:
    told = core.unusable(rendered(device_s=3.5), "chunk object is missing")
    assert told.verdict is None
    assert (told.rendered.status, told.rendered.object, told.rendered.error, told.rendered.device_s) == (
        "failed", None, "chunk object is missing", 3.5,
    )  # fmt: skip
