"""What a manifest says of a job, and what it never says."""

import json

import msgspec

from schemas.ids import job_uid
from schemas.mark_payload import payload_of
from schemas.plan import Plan, ShotInput
from schemas.request import Media, Output
from stream_processors.mux.manifest import (
    GENERATION,
    MADE_BY_MODEL,
    MADE_FROM_PICTURES,
    SOFT_BINDING,
    Json,
    carried_input,
    manifest,
)
from tests.flow.mux_clips import make_plan

PLAN = make_plan([[6], [6]], Output(width_px=320, height_px=180, fps=12), job_id="demo-1")
SECRET = "https://media.example.com/cat.png?token=secret"


def _manifest(plan: Plan, *, prompts: bool = False, keyed: bool = False) -> Json:
    return manifest(plan, "video/mp4", "1.2.3", 1_764_201_600_000, prompts=prompts, keyed=keyed)


def _data(made: Json) -> Json:
    return {each["label"]: each["data"] for each in made["assertions"]}


def _with_pictures() -> Plan:
    first, second = PLAN.request.shots
    shots = (
        msgspec.structs.replace(first, first_keyframe=Media(uri=SECRET, sha256="ab" * 32)),
        msgspec.structs.replace(second, first_keyframe=Media(uri=SECRET)),
    )
    request = msgspec.structs.replace(PLAN.request, shots=shots)
    return msgspec.structs.replace(PLAN, request=request, inputs=(ShotInput(0, "c" * 64), ShotInput(1, "d" * 64)))


def test_it_names_the_kind_of_media_the_program_the_model_and_the_mark() -> None:
    made = _manifest(PLAN)
    created, bound = _data(made)["c2pa.actions.v2"]["actions"]
    assert (created["action"], created["digitalSourceType"]) == ("c2pa.created", MADE_BY_MODEL)
    assert created["softwareAgent"] == {"name": "reelbus", "version": "1.2.3"}
    assert (created["when"], bound["action"]) == ("2025-11-27T00:00:00Z", "c2pa.watermarked.bound")
    assert "shapes" in created["description"]
    binding = _data(made)["c2pa.soft-binding"]
    assert (binding["alg"], binding["blocks"][0]["value"]) == (SOFT_BINDING, payload_of(PLAN.job))
    assert _data(made)[GENERATION] == {"model": "shapes", "model_revision": "1", "job_uid": job_uid(PLAN.job)}
    assert all(each["created"] for each in made["assertions"])
    assert made["ingredients"] == []


def test_a_mark_by_key_has_another_name_since_the_public_detector_does_not_find_it() -> None:
    binding = _data(_manifest(PLAN, keyed=True))["c2pa.soft-binding"]
    assert (binding["alg"], binding["blocks"][0]["value"]) == (f"{SOFT_BINDING}.keyed", payload_of(PLAN.job))


def test_pictures_that_went_in_are_ingredients_without_their_address() -> None:
    made = _manifest(_with_pictures())
    created = _data(made)["c2pa.actions.v2"]["actions"][0]
    assert created["digitalSourceType"] == MADE_FROM_PICTURES
    assert created["parameters"]["ingredientIds"] == [each["label"] for each in made["ingredients"]]
    assert [each["relationship"] for each in made["ingredients"]] == ["inputTo", "inputTo"]
    known, unknown = (each["instance_id"] for each in made["ingredients"])
    assert known == "urn:sha256:" + "ab" * 32
    assert unknown == "urn:reelbus:input:" + "d" * 64
    assert "example.com" not in json.dumps(made)


def test_a_picture_with_credentials_of_its_own_is_left_to_who_adds_them() -> None:
    plan = _with_pictures()
    made = manifest(plan, "video/mp4", "1.2.3", 0, carried={1})
    assert [each["label"] for each in made["ingredients"]] == ["picture-0"]
    added = carried_input(plan.inputs[1])
    assert added["label"] == "picture-1"
    created = _data(made)["c2pa.actions.v2"]["actions"][0]
    assert created["parameters"]["ingredientIds"] == ["picture-0", "picture-1"]


def test_prompts_are_in_it_only_when_they_are_asked_for() -> None:
    assert "not to be told" not in json.dumps(_manifest(_with_pictures()))
    assert _data(_manifest(PLAN, prompts=True))[GENERATION]["prompts"] == ["not to be told"] * 2


def test_it_is_a_function_of_its_arguments() -> None:
    assert _manifest(PLAN) == _manifest(PLAN)
