"""When a stage that ended is started again: exponential back-off, forgiven after a healthy while. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """first_s: delay after the first crash; it doubles up to most_s. healthy_s: a run this long clears the record."""

    first_s: float = 0.5
    most_s: float = 30.0
    healthy_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Restart:
    """crashes: how many in a row without a healthy run between them; at_s: when to start again."""

    crashes: int
    at_s: float


def after_exit(policy: RestartPolicy, crashes: int, started_s: float, ended_s: float) -> Restart:
    """What to do about a run that ended. Times are of one monotonic clock, in seconds.

    crashes: in a row before this run
    """
    count = 1 if ended_s - started_s >= policy.healthy_s else crashes + 1
    doublings = min(count - 1, 64)  # 2.0**64 is far beyond any most_s; more would overflow in the end
    return Restart(count, ended_s + min(policy.most_s, policy.first_s * 2.0**doublings))
