"""What may be deleted: never what a live job names, never what is young, never what is not ours."""

from hypothesis import given
from hypothesis import strategies as st

from ops.garbage import lifecycle
from ops.garbage.core import Doomed, Limits, Living, doomed, limits, too_many_unknown
from ops.storage.store import Listed
from schemas.ids import chunk_object_key, job_uid, video_object_key
from schemas.lifecycle import TERMINAL
from schemas.topics import HOUR_MS

NOW_MS = 1_000 * HOUR_MS
LIMITS = Limits(chunk_ms=48 * HOUR_MS, input_ms=24 * HOUR_MS)
NAMES = tuple(f"{n:x}" * 64 for n in range(6))
JOBS = tuple(f"t/{n}" for n in range(6))
STATES = ("accepted", "planned", "queued", "rendering", "assembling", *sorted(TERMINAL), None)


def key(kind: str, number: int) -> str:
    match kind:
        case "chunk":
            return chunk_object_key("t", NAMES[number])
        case "input":
            return chunk_object_key("t", NAMES[number]).replace("chunks/", "inputs/")
        case _:
            return video_object_key(JOBS[number], "video.mp4")


KINDS = ("chunk", "input", "video")
objects = st.dictionaries(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 5)), st.integers(0, 200).map(lambda h: NOW_MS - h * HOUR_MS - 1)
).map(lambda made: [Listed(key(*one), 1, at_ms) for one, at_ms in sorted(made.items())])
livings = st.builds(
    Living,
    names=st.frozensets(st.sampled_from(NAMES)),
    jobs=st.dictionaries(st.sampled_from(JOBS).map(job_uid), st.sampled_from(STATES)),
    scheduled=st.frozensets(st.sampled_from(JOBS).map(job_uid)),
    all_told=st.booleans(),
)


def keys(going: list[Doomed]) -> set[str]:
    return {one.key for one in going}


@given(objects, livings)
def test_nothing_that_a_job_needs_and_nothing_young_goes(found: list[Listed], living: Living) -> None:
    going = keys(list(doomed(found, living, LIMITS, NOW_MS)))
    for one in found:
        name = one.key.rpartition("/")[2].partition(".")[0]
        age_h = (NOW_MS - one.made_at_ms) / HOUR_MS
        if name in living.names:
            assert one.key not in going
        if one.key.startswith("videos/"):
            uid = one.key.split("/")[1]
            state = living.jobs.get(uid, "unknown")
            kept = state in ("completed", None) or (state != "unknown" and state not in TERMINAL)
            kept |= uid in living.scheduled or (state == "unknown" and not living.all_told) or age_h <= 24
            assert (one.key not in going) == kept
        elif name not in living.names:
            assert (one.key in going) == (age_h > (48 if one.key.startswith("chunks/") else 24))


@given(objects, livings, st.randoms())
def test_a_collection_that_dies_half_way_is_finished_by_the_next(found: list[Listed], living: Living, chance) -> None:  # type: ignore[no-untyped-def]
    going = list(doomed(found, living, LIMITS, NOW_MS))
    killed = {one.key for one in going if chance.random() < 0.5}
    left = [one for one in found if one.key not in killed]
    assert keys(list(doomed(left, living, LIMITS, NOW_MS))) == keys(going) - killed
    rest = [one for one in found if one.key not in keys(going)]
    assert list(doomed(rest, living, LIMITS, NOW_MS)) == []


@given(objects, livings, livings)
def test_more_life_never_lets_more_go(found: list[Listed], one: Living, other: Living) -> None:
    both = Living(one.names | other.names, one.jobs, one.scheduled | other.scheduled, one.all_told and other.all_told)
    assert keys(list(doomed(found, both, LIMITS, NOW_MS))) <= keys(list(doomed(found, one, LIMITS, NOW_MS)))


def test_what_is_not_of_our_making_is_left_alone() -> None:
    names = [
        "chunks/notes.txt", "chunks/0123/" + "a" * 63 + ".mkv", "chunks/" + "A" * 64, "videos/v.mp4",
        "other/" + "a" * 64, "garbage/owner.json", "videos/" + "0" * 32, "probe/0.txt",
    ]  # fmt: skip
    assert list(doomed([Listed(name, 1, 0) for name in names], Living(frozenset(), {}), LIMITS, NOW_MS)) == []


def test_every_file_of_an_ended_job_goes_with_its_reason() -> None:
    found = [Listed(video_object_key("t/0", n), 5, 0) for n in ("video.mp4", "thumbnail", "contact-sheet")]
    ended = Living(frozenset(), {job_uid("t/0"): "cancelled"})
    assert [one.why for one in doomed(found, ended, LIMITS, NOW_MS)] == ["video_of_ended_job"] * 3
    assert [one.why for one in doomed(found, Living(frozenset(), {}), LIMITS, NOW_MS)] == ["video_of_unknown_job"] * 3


def test_a_store_full_of_strangers_is_another_installations() -> None:
    going = [Doomed(f"videos/{n}", 1, "video_of_unknown_job") for n in range(11)]
    assert too_many_unknown(going, 21)
    assert not too_many_unknown(going, 22)
    assert not too_many_unknown(going[:10], 10)


def test_limits_come_from_hours() -> None:
    assert limits(48, 24) == LIMITS


# ---- lifecycle rules ------------------------------------------------------------------------------------------------

THEIRS = {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}}
OLD = {"ID": "old", "Status": "Enabled", "Prefix": "tmp/", "Expiration": {"Days": 1}}


def test_rules_of_others_stay_and_ours_are_set_once() -> None:
    ours = lifecycle.ours("some/prefix/", 48, 24)
    first = lifecycle.merged([THEIRS, OLD], ours)
    assert first[0] == THEIRS
    assert first[1] == {**{k: v for k, v in OLD.items() if k != "Prefix"}, "Filter": {"Prefix": "tmp/"}}
    assert first[2:] == ours
    assert lifecycle.merged(first, ours) == first
    assert lifecycle.missing(first, ours) == []
    assert lifecycle.missing([THEIRS], ours) == ours


def test_a_changed_rule_of_ours_is_put_right_in_its_place() -> None:
    ours = lifecycle.ours("", 48, 24)
    bent = {**ours[0], "Status": "Disabled"}
    there = [bent, THEIRS, *ours[1:]]
    assert lifecycle.missing(there, ours) == [ours[0]]
    assert lifecycle.merged(there, ours) == [ours[0], THEIRS, *ours[1:]]


def test_rules_keep_longer_than_any_job_takes() -> None:
    days = {rule["Filter"]["Prefix"]: rule.get("Expiration", {}).get("Days") for rule in lifecycle.ours("p/", 48, 24)}
    assert days == {"p/chunks/": 30, "p/inputs/": 30, "p/": None}
    long = lifecycle.ours("", 24 * 20, 24)
    assert long[0]["Expiration"]["Days"] == 60
    assert "videos" not in str(long)
