"""What a video's C2PA manifest says. Pure: no clock, no files, no keys.

Only what the operator of the model knows to be so, and nothing that the caller wrote unless the operator asks for it:
a published file goes wherever the caller sends it.
"""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from schemas.ids import job_uid
from schemas.mark_payload import payload_of
from schemas.plan import Plan, ShotInput

TITLE = "AI-generated video"
SOFT_BINDING = "io.reelbus.mark.1"
"""Name of the invisible mark (`mark.py`). Not in C2PA's list of soft binding algorithms: only reelbus finds it."""
KEYED_SOFT_BINDING = f"{SOFT_BINDING}.keyed"
"""The same where a tenant's key decides the pattern: only who has the key finds it."""
GENERATION = "io.reelbus.generation"
"""Label of our own assertion: model, revision and whose video it is."""
_SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MADE_BY_MODEL, MADE_FROM_PICTURES = (
    f"{_SOURCES}trainedAlgorithmicMedia",
    f"{_SOURCES}compositeWithTrainedAlgorithmicMedia",
)

Json = dict[str, Any]


def manifest(
    plan: Plan,
    content_type: str,
    version: str,
    at_ms: int,
    *,
    prompts: bool = False,
    carried: Collection[int] = (),
    keyed: bool = False,
) -> Json:
    """A manifest definition as c2pa's Builder takes it.

    version: of reelbus
    at_ms:   when the file was made, by this machine's clock: a claim, not a proof; a time-stamp authority gives one
    prompts: write the shots' prompts into it, for everybody to read
    carried: shots whose picture has credentials of its own: its ingredient is not in the definition, the caller adds it
             (`carried_input` and the credentials)
    keyed:   a tenant's key decides the pattern of the invisible mark
    """
    inputs = [_input(plan, each) for each in plan.inputs]
    alg = KEYED_SOFT_BINDING if keyed else SOFT_BINDING
    agent = {"name": "reelbus", "version": version}
    created: Json = {
        "action": "c2pa.created",
        "when": datetime.fromtimestamp(at_ms // 1000, UTC).isoformat().replace("+00:00", "Z"),
        "digitalSourceType": MADE_FROM_PICTURES if inputs else MADE_BY_MODEL,
        "softwareAgent": agent,
        "description": f"Made by the model {plan.render.model}, revision {plan.render.model_revision}",
    }
    if inputs:
        created["parameters"] = {"ingredientIds": [each["label"] for each in inputs]}
    made: Json = {
        "c2pa.actions.v2": {"actions": [created, {"action": "c2pa.watermarked.bound", "softwareAgent": agent}]},
        "c2pa.soft-binding": {"alg": alg, "blocks": [{"scope": {}, "value": payload_of(plan.job)}]},
        GENERATION: _generation(plan, prompts),
    }
    return {
        "claim_generator_info": [agent],
        "title": TITLE,
        "format": content_type,
        "ingredients": [made for each, made in zip(plan.inputs, inputs, strict=True) if each.shot not in carried],
        # created: we made them and stand for them, they were not gathered from elsewhere.
        "assertions": [{"label": label, "data": data, "created": True} for label, data in made.items()],
    }


def _generation(plan: Plan, prompts: bool) -> Json:
    said: Json = {
        "model": plan.render.model,
        "model_revision": plan.render.model_revision,
        "job_uid": job_uid(plan.job),
    }
    if prompts:
        said["prompts"] = [shot.prompt for shot in plan.request.shots]
    return said


def carried_input(each: ShotInput) -> Json:
    """A caller's picture, to be added with its own credentials, which say what it is called."""
    return {
        "label": f"picture-{each.shot}",
        "title": f"first picture of shot {each.shot}",
        "relationship": "inputTo",
    }


def _input(plan: Plan, each: ShotInput) -> Json:
    """A caller's picture. Its address stays out: it may hold tokens, and is the caller's business."""
    media = plan.request.shots[each.shot].first_keyframe
    known = media.sha256 if media is not None else None
    return {
        **carried_input(each),
        "instance_id": f"urn:sha256:{known}" if known else f"urn:reelbus:input:{each.chunk}",
    }
