"""What a stage writes down for its watchdog."""

import asyncio
import contextvars
import threading
from typing import NamedTuple

from ops.bus.pulse import Pulse, Stand, beat


class P(NamedTuple):
    topic: str
    partition: int


def test_a_beat_is_that_of_the_thread_and_the_innermost_work() -> None:
    made = Pulse()
    with made.working("outer", "a") as outer:
        beat()
        with made.working("inner", "b") as inner:
            beat()
            beat()
        other = threading.Thread(target=beat)
        other.start()
        other.join()
        beat()
    beat()
    assert (outer.beats, inner.beats) == (2, 2)
    assert made.activities == []


def test_tasks_of_one_event_loop_beat_for_themselves() -> None:
    made = Pulse()

    async def work(steps: int) -> int:
        with made.working("agent", "r") as mine:
            for _ in range(steps):
                await asyncio.sleep(0)
                beat()
            return mine.beats

    async def both() -> list[int]:
        return await asyncio.gather(work(2), work(5))

    assert asyncio.run(both()) == [2, 5]


def test_work_that_fails_is_over() -> None:
    made = Pulse()
    try:
        with made.working("handler", "r"):
            raise KeyError
    except KeyError:
        pass
    assert made.activities == []


def test_no_two_activities_share_an_id() -> None:
    made = Pulse()
    ids = set()
    for _ in range(100):
        with made.working("handler", "r") as mine:
            ids.add(mine.id)
    assert len(ids) == 100


def test_a_loop_that_sleeps_is_asked() -> None:
    made = Pulse()
    waiting: list[object] = []
    mine = made.loop("event loop", post=waiting.append)
    assert mine.ping is not None
    mine.ping()
    assert mine.beats == 0
    waiting[0]()  # type: ignore[operator]
    assert mine.beats == 1


def test_at_hand_is_what_was_read_and_is_not_done() -> None:
    made = Pulse()
    made.assigned([P("t", 0), P("t", 1)])
    assert not made.at_hand()
    made.read("t", 0, 7)
    assert made.at_hand()
    made.done("t", 0, 8)
    assert not made.at_hand()
    assert made.stands[("t", 0)] == Stand(read=8, done=8)
    made.read("t", 1, 0)
    made.revoked([P("t", 1)])
    assert not made.at_hand()


def test_records_of_partitions_that_are_not_ours_do_not_count() -> None:
    made = Pulse()
    made.assigned([P("t", 0)])
    made.read("workers.state", 0, 1000)
    made.done("workers.state", 0, 1001)
    assert (made.reads, made.at_hand()) == (0, False)


def test_it_is_ready_when_it_turns_and_is_in_its_group() -> None:
    made = Pulse()
    made.joining("g")
    assert set(made.lacking) == {"start", "group"}
    made.loop("loop", post=lambda _: None)
    assert set(made.lacking) == {"group"}
    made.assigned([])
    assert made.lacking == {}
    made.revoked([], lost=True)
    assert made.lacking == {"group": "it lost its place in consumer group g"}
    made.assigned([P("t", 0)])
    assert made.lacking == {}


def test_a_pause_on_purpose_is_written_down() -> None:
    made = Pulse()
    made.assigned([P("t", 0)])
    made.hold([P("t", 0), P("t", 9)], True)
    assert made.stands[("t", 0)].held
    made.hold([P("t", 0)], False)
    assert not made.stands[("t", 0)].held


def test_where_nothing_is_watched_a_beat_does_nothing() -> None:
    contextvars.Context().run(beat)
