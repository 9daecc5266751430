"""The placement of a plan. Pure."""

from msgspec.structs import replace

from schemas.events import JobEvent, Reason
from schemas.limits import Limits
from schemas.plan import Placement, Plan
from schemas.registry import ModelEntry
from schemas.reports import plan_event

SOURCE = "prioritise"


def place(plan: Plan, model: ModelEntry, limits: Limits, local_pool: str) -> Plan:
    """The plan with its placement.

    pool: the pool that this installation runs (setting `pool`) when the model can use it, else the first that the
    registry lists for the model. Weights: the tenant's and the project's, from the policy file. Costs of a chunk and
    of loading the model: its priors; the scheduler learns the true ones from what workers measure.
    """
    pool = local_pool if local_pool in model.pools else model.pools[0]
    request = plan.request
    placement = Placement(
        pool=pool,
        weight=limits.tenant_weight(request.tenant),
        chunk_cost_s=model.chunk_cost_s,
        load_s=model.load_s,
        max_batch=model.max_batch,
        account_weight=limits.project_weight(request.tenant, request.project),
    )
    return replace(plan, placement=placement)


def failed(plan: Plan, at_ms: int) -> JobEvent:
    """Ends a job whose model is gone."""
    reason = Reason(
        code="model_unknown", message=f"model: {plan.render.model} has left the model registry", field="model"
    )
    return ended(plan, reason, at_ms)


def ended(plan: Plan, reason: Reason, at_ms: int) -> JobEvent:
    """Ends a job that was accepted and cannot go on from here."""
    return plan_event(SOURCE, "job.failed", plan, at_ms=at_ms, about=plan.fingerprint, reason=reason)
