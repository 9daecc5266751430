"""Every stage as a process: which body it runs, from the real decisions and the modelled loops."""

from collections.abc import Callable

from schemas.request import LANES
from schemas.topics import (
    CHUNKS_RENDERED,
    JOBS_CLEARED,
    JOBS_FINISHED,
    JOBS_FINISHED_RETRY,
    JOBS_REPLIES,
    JOBS_REQUESTED,
    MUX_TASKS,
    ORDERS_REQUESTED,
    PLANS_DRAFTED,
)
from stream_processors.moderate import shell as moderate_shell
from stream_processors.prioritise import shell as prioritise_shell
from stream_processors.split import shell as split_shell
from tests.simulation.front import front
from tests.simulation.groups import Effects
from tests.simulation.inspecting import Inspector
from tests.simulation.muxing import Muxer
from tests.simulation.process import Process
from tests.simulation.rendering import POOL, render
from tests.simulation.scheduling import dispatch
from tests.simulation.telling import Notifier, Replier
from tests.simulation.tracking import track
from tests.simulation.worker import Loop


def moderate(process: Process) -> Effects:
    rules = process.world.rules
    steps = {JOBS_REQUESTED[lane].entity: moderate_shell.decide(lane, rules) for lane in LANES}
    steps[ORDERS_REQUESTED.entity] = moderate_shell.command(rules.tenants)
    return front(process, steps)


def split(process: Process) -> Effects:
    models = process.world.models
    return front(process, {JOBS_CLEARED[lane].entity: split_shell.decide(lane, models) for lane in LANES})


def prioritise(process: Process) -> Effects:
    world = process.world
    steps = {
        PLANS_DRAFTED[lane].entity: prioritise_shell.decide(lane, world.models, world.limits, POOL) for lane in LANES
    }
    return front(process, steps)


def inspect(process: Process) -> Effects:
    return Loop(process, [CHUNKS_RENDERED.entity], Inspector(process).handle).run()


def mux(process: Process) -> Effects:
    committed_only = "mux reads uncommitted" not in process.world.bugs
    return Loop(process, [MUX_TASKS.entity], Muxer(process).handle, committed_only=committed_only).run()


def reply(process: Process) -> Effects:
    return Loop(process, [JOBS_REPLIES.entity], Replier(process).handle).run()


def notify(process: Process) -> Effects:
    topics = [JOBS_FINISHED.entity, *(topic.entity for topic in JOBS_FINISHED_RETRY.values())]
    return Loop(process, topics, Notifier(process).handle, Notifier.due_ms).run()


STAGES: dict[str, Callable[[Process], Effects]] = {
    "moderate": moderate,
    "split": split,
    "prioritise": prioritise,
    "dispatch": dispatch,
    "render": render,
    "inspect": inspect,
    "mux": mux,
    "track": track,
    "reply": reply,
    "notify": notify,
}
GROUPS: dict[str, str] = {stage: stage for stage in STAGES} | {"render": f"render.{POOL}"}
"""Consumer group of each stage."""
