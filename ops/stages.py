"""The pipeline as data: eleven stages, what they read and write. The supervisor, the CLI and tests read this table."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

from ops.settings import Settings
from schemas import topics
from schemas.topics import Topic

Engine = Literal["faust", "confluent-kafka"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage.

    entry:      "module:function"; a string, so that this table imports no torch. The function takes Settings and
                returns when SIGTERM or SIGINT came.
    reads:      topics it consumes, its own state topics among them
    writes:     topics it produces
    processes:  how many run on one machine unless told otherwise
    needs_pool: it serves one pool (REELBUS_POOL, REELBUS_DEVICE)
    writes_replies: it writes the reply topics of all tenants, which are in no table
    """

    name: str
    entry: str
    engine: Engine
    reads: tuple[Topic, ...]
    writes: tuple[Topic, ...]
    processes: int = 1
    needs_pool: bool = False
    writes_replies: bool = False


_STAGES = (
    Stage(
        "moderate", "stream_processors.moderate.shell:main", "faust",
        reads=(*topics.JOBS_REQUESTED.values(), topics.ORDERS_REQUESTED, topics.TENANTS_PROMPTS),
        writes=(
            *topics.INPUTS_REQUESTED.values(), *topics.JOBS_CLEARED.values(), topics.JOBS_EVENTS, topics.JOBS_CONTROL,
        ),
    ),
    Stage(
        "intake", "stream_processors.intake.shell:main", "confluent-kafka",
        reads=(*topics.INPUTS_REQUESTED.values(), *topics.INPUTS_RETRY.values()),
        writes=(*topics.INPUTS_RETRY.values(), *topics.JOBS_CLEARED.values(), topics.JOBS_EVENTS),
    ),
    Stage(
        "split", "stream_processors.split.shell:main", "faust",
        reads=(*topics.JOBS_CLEARED.values(),),
        writes=(*topics.PLANS_DRAFTED.values(), topics.JOBS_EVENTS),
    ),
    Stage(
        "prioritise", "stream_processors.prioritise.shell:main", "faust",
        reads=(*topics.PLANS_DRAFTED.values(),),
        writes=(*topics.PLANS_READY.values(), topics.JOBS_EVENTS),
    ),
    Stage(
        "dispatch", "stream_processors.dispatch.shell:main", "confluent-kafka",
        reads=(
            *topics.PLANS_READY.values(), topics.PLANS_PARKED, topics.CHUNKS_INSPECTED, topics.JOBS_CONTROL,
            topics.WORKERS_STATE, topics.DISPATCH_STATE, topics.SCHEDULER_SWITCHES, topics.TENANTS_QUOTAS,
            topics.REVIEWS_DECIDED, topics.DISPATCH_LEADER, topics.COSTS_LEARNT,
        ),
        writes=(
            topics.PLANS_PARKED, topics.COSTS_LEARNT,
            *topics.CHUNKS.values(), topics.CHUNKS_WITHDRAWN, topics.MUX_TASKS, topics.DISPATCH_STATE,
            topics.DISPATCH_LEADER, topics.REVIEWS_OPEN, topics.JOBS_EVENTS, topics.USAGE_LEDGER,
        ),
    ),
    Stage(
        "render", "gpu_consumers.render.shell:main", "confluent-kafka",
        reads=(*topics.CHUNKS.values(), topics.CHUNKS_WITHDRAWN),
        writes=(topics.CHUNKS_RENDERED, topics.WORKERS_STATE),
        needs_pool=True,
    ),
    Stage(
        "inspect", "stream_processors.inspect.shell:main", "confluent-kafka",
        reads=(topics.CHUNKS_RENDERED, *topics.CHUNKS_RENDERED_RETRY.values()),
        writes=(topics.CHUNKS_INSPECTED, *topics.CHUNKS_RENDERED_RETRY.values()),
    ),
    Stage(
        "mux", "stream_processors.mux.shell:main", "confluent-kafka",
        reads=(topics.MUX_TASKS, *topics.MUX_TASKS_RETRY.values()),
        writes=(topics.JOBS_EVENTS, topics.JOBS_CONTROL, *topics.MUX_TASKS_RETRY.values()),
    ),
    Stage(
        "track", "stream_processors.track.shell:main", "confluent-kafka",
        reads=(topics.JOBS_EVENTS, topics.JOBS_STATE, topics.AUDIT_TRAIL),
        writes=(
            topics.JOBS_STATE, topics.JOBS_FINISHED, topics.JOBS_REPLIES, topics.USAGE_METERED, topics.JOBS_CONTROL,
            topics.AUDIT_TRAIL,
        ),
    ),
    Stage(
        "notify", "stream_processors.notify.shell:main", "confluent-kafka",
        reads=(topics.JOBS_FINISHED, *topics.JOBS_FINISHED_RETRY.values()),
        writes=(*topics.JOBS_FINISHED_RETRY.values(), topics.NOTIFY_LOG),
    ),
    Stage(
        "reply", "stream_processors.reply.shell:main", "confluent-kafka",
        reads=(topics.JOBS_REPLIES,),
        writes=(),
        writes_replies=True,
    ),
)  # fmt: skip

STAGES: dict[str, Stage] = {stage.name: stage for stage in _STAGES}
"""By name, in the order of data flow."""

FEEDBACK: tuple[Topic, ...] = (topics.JOBS_CONTROL, topics.CHUNKS_INSPECTED, topics.WORKERS_STATE)
"""Topics by which a later stage answers dispatch. Without them data flows one way."""
FOLLOWED: frozenset[Topic] = frozenset((topics.CHUNKS_WITHDRAWN, topics.TENANTS_PROMPTS, topics.AUDIT_TRAIL)) | {
    topics.SCHEDULER_SWITCHES,
    topics.TENANTS_QUOTAS,
}
"""Topics that every reader follows, or reads back, by itself, without a group: what cannot be read there is logged or
passed over, since there would be as many dead letters of it as readers."""
WRITTEN_OUTSIDE: tuple[Topic, ...] = topics.WRITTEN_OUTSIDE
"""Topics that callers write."""
WRITTEN_BY_OPERATORS: tuple[Topic, ...] = (
    topics.SCHEDULER_SWITCHES, topics.TENANTS_QUOTAS, topics.TENANTS_PROMPTS, topics.REVIEWS_DECIDED,
)  # fmt: skip
"""Topics that the operators' command line writes, and no stage."""
READ_OUTSIDE: tuple[Topic, ...] = (
    topics.JOBS_STATE, topics.JOBS_FINISHED, topics.JOBS_REPLIES, topics.REPLIES_DEFAULT, topics.USAGE_METERED,
    topics.USAGE_LEDGER, topics.NOTIFY_LOG, topics.JOBS_EVENTS, topics.AUDIT_TRAIL, topics.REVIEWS_OPEN,
)  # fmt: skip
"""Topics meant for users' own consumers."""


def load(entry: str) -> Callable[[Settings], None]:
    """Import the function that runs a stage."""
    module, _, function = entry.partition(":")
    return cast(Callable[[Settings], None], getattr(importlib.import_module(module), function))
