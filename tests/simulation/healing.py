"""Everything heals: who is down comes up, who is frozen goes on, clocks are right; all runs until it is still."""

from tests.simulation.invariants import Checker, require
from tests.simulation.world import World

PASSES_MAX = 400
PATIENCE_MS = 6 * 3_600_000
QUIET_MS = (1_000, 1_000, 5_000, 31_000)
"""Time that passes, in pieces, after the last job has ended."""


def heal(world: World) -> None:
    world.store.down = world.moderator_down = False
    world.store.answers_to_lose = 0
    for faults in world.device_faults.values():
        faults.clear()
    for process in world.processes.values():
        process.thaw()
        process.reverse, process.trap = False, None
    world.clock.set_right()


def revive(world: World) -> None:
    """The supervisor: who should run, runs."""
    for process in world.processes.values():
        if process.slot == 0:
            process.start()


def still(world: World) -> None:
    """Run until nobody has anything to do at this moment."""
    for _ in range(PASSES_MAX):
        revive(world)
        if not world.round(300):
            return
    busy = [name for name, process in world.processes.items() if world.run(process, 1)]
    require(False, f"livelock: {', '.join(busy)} never come to rest")


def settle(world: World, checker: Checker) -> None:
    """Run until every job has ended and nothing moves. Raises Violation when one never ends."""
    heal(world)
    began_ms, wait_ms = world.clock.mono_ms, 1_000
    still(world)
    while not checker.told() and world.clock.mono_ms - began_ms < PATIENCE_MS:
        for case in world.open_cases():
            world.review(case, "approve")
        world.pass_ms(wait_ms)
        wait_ms = min(wait_ms * 5 // 4, 120_000)
        still(world)
        checker.step()
    for quiet_ms in QUIET_MS:
        world.pass_ms(quiet_ms)
        still(world)
    while world.retries_wait() and world.clock.mono_ms - began_ms < PATIENCE_MS:
        world.pass_ms(300_000)
        still(world)


def replay(world: World) -> None:
    """Every group goes back to offset 0, as an operator would do it: stages stopped, offsets reset, stages started."""
    for process in world.processes.values():
        process.kill()
    world.pass_ms(20_000)
    world.log.committed.clear()
