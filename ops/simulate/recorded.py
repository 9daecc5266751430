"""Jobs of a simulation as they were recorded: plans that the pipeline made, played again under today's policy. Pure."""

from collections.abc import Iterable, Mapping

from schemas.errors import InvalidMessage
from schemas.limits import Limits
from schemas.plan import Plan
from schemas.registry import ModelEntry
from stream_processors.prioritise.core import place


def recorded(
    plans: Iterable[Plan], since_ms: int, until_ms: int, models: Mapping[str, ModelEntry], limits: Limits, pool: str
) -> tuple[list[Plan], dict[str, int]]:
    """Plans of the jobs that were asked for from since_ms to before until_ms, in that order, each job once; and how
    many were left out, by why. They keep their chunks and their deadlines and get today's weights and costs.

    Raises InvalidMessage when none is left.
    """
    found: dict[str, Plan] = {}
    left_out: dict[str, int] = {}
    for plan in plans:
        if not since_ms <= plan.requested_at_ms < until_ms or plan.job in found:
            continue
        entry = models.get(plan.render.model)
        if plan.placement is None or plan.placement.pool != pool:
            why = f"rendered by another pool than {pool}"
        elif entry is None or pool not in entry.pools:
            why = f"of a model that pool {pool} renders no more"
        else:
            found[plan.job] = place(plan, entry, limits, pool)
            continue
        left_out[why] = left_out.get(why, 0) + 1
    if not found:
        said = "; ".join(f"{jobs} {why}" for why, jobs in left_out.items())
        raise InvalidMessage(f"no job was asked for between these moments{': left out ' + said if said else ''}")
    return sorted(found.values(), key=lambda plan: plan.requested_at_ms), left_out
