"""A log that says what is wrong, and not twenty times a second."""

import logging

from ops.bus.damped_log import EVERY_S, MOST_KINDS, Damped


def heard(damped: Damped, text: str) -> str | None:
    record = logging.LogRecord("x", logging.ERROR, "", 0, "%s", (text,), None)
    return record.getMessage() if damped.filter(record) else None


def test_the_same_line_comes_once_in_a_while_and_says_how_often_it_was() -> None:
    now_s = [0.0]
    damped = Damped(lambda: now_s[0])
    assert heard(damped, "connect to 127.0.0.1:9092 failed after 0ms") == "connect to 127.0.0.1:9092 failed after 0ms"
    assert heard(damped, "connect to 127.0.0.1:9092 failed after 7ms") is None
    assert heard(damped, "another thing") == "another thing"
    assert heard(damped, "connect to 127.0.0.1:9092 failed after 1ms") is None
    now_s[0] = EVERY_S
    again = heard(damped, "connect to 127.0.0.1:9092 failed after 2ms")
    assert again == "connect to 127.0.0.1:9092 failed after 2ms (and 2 more like it)"


def test_kinds_are_bounded() -> None:
    damped = Damped(lambda: 0.0)
    for number in range(3 * MOST_KINDS):
        heard(damped, "x" * (number + 1))
    assert len(damped._kinds) <= MOST_KINDS
