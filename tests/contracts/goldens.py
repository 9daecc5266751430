"""Where the golden examples come from: the pipeline's own cores, on a few jobs whose story they tell together.

`python -m tests.contracts.goldens` writes schemas/examples; a test holds the committed files against this. What a core
decides is never written down twice: ids, hashes and sentences are the ones that the stages make.
"""

import json
import shutil
from pathlib import Path

import msgspec
from msgspec.structs import replace

from ops.settings import PACKAGE_ROOT
from schemas import codec
from schemas.plan import ClearedJob, ShotInput
from schemas.request import LANES, Lane
from schemas.topics import INPUTS_RETRY, LIVE_TOPICS
from stream_processors.intake import core
from stream_processors.split.core import split
from tests.contracts import golden_requests as requests
from tests.contracts.golden_jobs import MODEL, T0, cleared, doubted, pictured, plan_of
from tests.contracts.golden_told import deliveries, told
from tests.contracts.golden_work import control, scheduler, texts_in_review, work

FOLDER = PACKAGE_ROOT / "schemas" / "examples"
Goldens = dict[str, msgspec.Struct]
"""<topic entity>/<case> -> record."""


def goldens() -> Goldens:
    """Every golden example."""
    made: Goldens = {**requests.REQUESTS, **requests.ORDERS}
    for lane in LANES:
        made |= _planned(lane)
        made[f"inputs.requested.{lane}/from-a-picture"] = pictured(lane)
    made |= _taken_in(pictured("standard"))
    made |= _left_to_a_person()
    plan = plan_of("standard")
    made |= work(plan) | control() | told(plan) | scheduler(plan) | deliveries(plan)
    return dict(sorted(made.items()))


def _planned(lane: Lane) -> Goldens:
    name = requests.NAMES[lane]
    plan = plan_of(lane)
    parked = {f"plans.parked/{name}": plan} if lane == "bulk" else {}
    return {
        **parked,
        f"jobs.cleared.{lane}/{name}": cleared(lane)[1],
        f"plans.drafted.{lane}/{name}": replace(plan, placement=None),
        f"plans.ready.{lane}/{name}": plan,
    }


def _left_to_a_person() -> Goldens:
    accepted, job, plan = doubted()
    return {
        "jobs.events/accepted-in-doubt": accepted,
        "jobs.cleared.standard/in-doubt": job,
        "plans.drafted.standard/in-doubt": replace(plan, placement=None),
        "plans.ready.standard/in-doubt": plan,
        **texts_in_review(plan),
    }


def _taken_in(job: ClearedJob) -> Goldens:
    """A job whose picture was fetched, one whose host gives no answer, and one whose file is no picture."""
    picture = next(core.wanted(job))
    name = core.shape_for(job, {MODEL.name: MODEL}).name(picture.media.sha256 or "")
    ready = core.with_inputs(job, (ShotInput(picture.shot, name, "9" * 64),))
    case = "from-a-picture"
    made: Goldens = {f"inputs.retry.{delay}/{case}": job for delay in INPUTS_RETRY}
    made[f"jobs.cleared.standard/{case}"] = ready
    made[f"plans.drafted.standard/{case}"] = split(ready, MODEL)
    made["jobs.events/rejected-file"] = core.refused(
        job, core.wrong_file(picture, "is none of the kinds that are read"), T0 + 900
    )
    return made


def text_of(record: msgspec.Struct) -> str:
    """A golden example as it stands in its file: our JSON, indented."""
    return json.dumps(json.loads(codec.encode(record, "json")), indent=2, ensure_ascii=False) + "\n"


def write(folder: Path = FOLDER) -> int:
    """Write every golden example, and remove what is none any more. Returns how many there are."""
    made = goldens()
    assert {path.partition("/")[0] for path in made} == {t.entity for t in LIVE_TOPICS if t.record is not None}
    shutil.rmtree(folder, ignore_errors=True)
    for path, record in made.items():
        file = folder / f"{path}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text_of(record))
    return len(made)


if __name__ == "__main__":
    print(f"{write()} examples in {FOLDER}")
