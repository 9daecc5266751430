"""How long to wait before the next try. Pure: chance comes in."""

FIRST_S, LONGEST_S = 0.5, 8.0
LONGEST_IN_PLACE_S = 20.0
"""A service that asks for more is left alone, and the chunk waits in its topic."""


def pause_s(failed_tries: int, jitter: float, retry_after_s: float) -> float:
    """Seconds before the next try: doubled with every failure, half of it by chance, and never less than asked for.

    jitter: 0..1, so that processes that failed together do not come back together
    """
    longest = min(FIRST_S * 2.0 ** min(failed_tries - 1, 10), LONGEST_S)
    return max(longest * (0.5 + 0.5 * jitter), retry_after_s)
