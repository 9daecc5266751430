"""Objects that the store has not kept: how often a chunk is made again, and how far apart. Pure."""

MAX_LOSSES = 8
"""Times that objects of one chunk, or of one job in assembly, may be lost before the job fails. Together the pauses
outlast a restart of the store, or a stretch of bad answers, by far."""
_FIRST_PAUSE_MS = 2_000
_MOST_PAUSE_MS = 60_000


def pause_ms(losses: int) -> int:
    """How long a job waits after its n-th loss, n >= 1: not at all after the first, then 2 s, doubled to at most 60."""
    return 0 if losses <= 1 else min(_FIRST_PAUSE_MS << min(losses - 2, 16), _MOST_PAUSE_MS)
