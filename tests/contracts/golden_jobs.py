"""The jobs that the golden examples are about, as far as `moderate` and `split` bring them."""

from dataclasses import replace as replace_rules

from msgspec.structs import replace

from ops.prompt_policy import policy
from ops.prompt_policy.pack import CATEGORIES
from schemas import codec
from schemas.events import JobEvent
from schemas.limits import JobLimits
from schemas.plan import ClearedJob, Placement, Plan
from schemas.records import Headers, Incoming
from schemas.registry import ModelEntry
from schemas.request import JobRequest, Lane
from schemas.work import FrameVerdict
from stream_processors.moderate.checks import Offer
from stream_processors.moderate.core import Cleared, Rejected, Rules, judge
from stream_processors.moderate.identity import Tenants
from stream_processors.split.core import split
from tests.contracts import golden_requests as requests

T0 = 1_795_000_000_000
"""When the stories begin: 2026-11-18."""
MODEL = ModelEntry(
    name="shapes", family="ltx", source="shapes/weights", revision="sha256:9f61f17fe9eb2d8f", pools=("cpu", "cuda"),
    clip_frames=17, given_frames=5, sizes=((64, 64),), fps_min=1, fps_max=60, steps=8, guidance=2.0, chunk_cost_s=0.4,
)  # fmt: skip
LIMITS = JobLimits(
    max_frames=7200, max_pixels=4096 * 2160, max_chunks=400, max_text_bytes=16384, max_metadata_bytes=4096,
    max_request_bytes=24576,
)  # fmt: skip
POLICY = 'version = "2026-11"\npacks = ["all"]\nsemantic = { model = "off" }\n' + "".join(
    f'[[category]]\nname = "{name}"\n' for name in CATEGORIES
)
PACK = 'language = "en"\n' + "".join(
    f'[[pack]]\ncategory = "{name}"\nseverity = "high"\nterms = ["term{number}"]\n'
    for number, name in enumerate(CATEGORIES)
)
"""Of every category one term that stands for the real ones."""
RULES = Rules(
    Offer({"shapes": MODEL}, LIMITS, webhooks=True),
    policy.parse(POLICY, lambda name: PACK),
    Tenants("reelbus"),
)
DOUBTING = replace_rules(
    RULES,
    policy=policy.parse(
        'refuse_from = "high"\nreview_terms_from = "medium"\n' + POLICY,
        lambda name: PACK.replace('severity = "high"', 'severity = "medium"'),
    ),
)
"""The same terms are left to a person."""
HEADERS: Headers = (
    ("ce_source", b"https://shop.example.com/orders"),
    ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
)  # fmt: skip
PROVIDER = "opennsfw 0.1.0"
ALLOW = FrameVerdict(verdict="allow", provider=PROVIDER, frames_checked=12, score=0.004)
DOUBT = FrameVerdict(verdict="review", provider=PROVIDER, frames_checked=4, category="sexual", score=0.31)
BLOCK = FrameVerdict(verdict="block", provider=PROVIDER, frames_checked=4, category="sexual", score=0.93)


def _incoming(lane: Lane, request: JobRequest) -> Incoming:
    topic = f"reelbus.jobs.requested.{lane}.v1"
    headers: Headers = (("ce_id", request.job_id.encode()), *HEADERS)
    raw = codec.encode(request, "json")
    return Incoming(topic, 0, 0, request.job_id.encode(), raw, headers, T0)


def judged(lane: Lane, request: JobRequest, rules: Rules = RULES) -> Cleared | Rejected:
    return judge(_incoming(lane, request), lane, rules)


def cleared(lane: Lane) -> tuple[JobEvent, ClearedJob]:
    verdict = judged(lane, requests.MAIN[lane])
    assert isinstance(verdict, Cleared), verdict
    return verdict.event, verdict.job


def pictured(lane: Lane) -> ClearedJob:
    """A job that names a picture."""
    verdict = judged(lane, replace(requests.FROM_A_PICTURE, lane=lane))
    assert isinstance(verdict, Cleared), verdict
    return verdict.job


def plan_of(lane: Lane) -> Plan:
    pool, weight = ("cuda", 2.0) if lane == "express" else ("cpu", 1.0)
    placement = Placement(pool=pool, weight=weight, chunk_cost_s=MODEL.chunk_cost_s)
    return replace(split(cleared(lane)[1], MODEL), placement=placement)


def doubted() -> tuple[JobEvent, ClearedJob, Plan]:
    """A job whose texts a person is to read first."""
    verdict = judged("standard", requests.DOUBTFUL, DOUBTING)
    assert isinstance(verdict, Cleared), verdict
    placement = Placement(pool="cpu", weight=1.0, chunk_cost_s=MODEL.chunk_cost_s)
    return verdict.event, verdict.job, replace(split(verdict.job, MODEL), placement=placement)
