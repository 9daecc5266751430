"""Races that the simulation has found: whose request an id is, decided in two places. Each as a small program."""

from tests.simulation.healing import settle, still
from tests.simulation.invariants import Checker
from tests.simulation.world import World


def test_two_bodies_of_one_id_on_two_lanes() -> None:
    """moderate lets both through (it keeps no state). track holds the second for refused; its plan reaches dispatch
    first, and the job is not to be completed, under the first request's name, with the second one's video."""
    world = World()
    checker = Checker(world)
    world.submit(0, "acme", 1, "express")
    world.run(world.processes["moderate.0"], 40)
    world.submit(1, "acme", 1, "standard")
    world.run(world.processes["moderate.0"], 40)
    world.processes["split.0"].kill()
    # Only the plan of the second is on its way: its lane's partition has another owner than the first's.
    world.log.committed["split", ("jobs.cleared.express", 0)] = world.log.committed[
        "split", ("jobs.cleared.express", 1)
    ] = 1
    still(world)
    world.processes["split.0"].kill()
    world.pass_ms(20_000)
    world.log.committed["split", ("jobs.cleared.express", 0)] = world.log.committed[
        "split", ("jobs.cleared.express", 1)
    ] = 0
    settle(world, checker)
    checker.healed()


def test_a_sound_request_under_a_refused_id_is_not_published() -> None:
    """track is slow: all chunks are there before dispatch hears that the id is spent."""
    world = World()
    checker = Checker(world)
    world.submit(6, "acme", 0, "express")
    still(world)
    world.processes["track.0"].freeze()
    world.submit(0, "acme", 0, "express")
    for _ in range(40):
        world.round(40)
        world.pass_ms(100)
    settle(world, checker)
    checker.healed()
    assert not world.video_puts
