"""Named moments between two effects. In a test build of a process something listens and kills it; else nobody does.

`reached` stands before and after every effect of every stage, so that each window between two effects can be hit on
purpose (tests/faults/process.py). No setting, file or variable of a normal process makes it listen.
"""

from collections.abc import Callable

Listener = Callable[[str, str], None]

FAUST = ("read", "decided", "acknowledged", "answered")
"""A record was read; what it leads to is decided; one record of that is on the broker; all of them are."""
TRANSACTION = ("read", "begun", "produced", "offsets-sent", "committed")
"""Records were read and folded; the transaction is open; its records, its offsets are in it; it is committed."""
WORKER = ("read", "handled", "produced", "acknowledged", "committed")
"""Before the work; after it; its records are handed to the client; are on the broker; the offset is committed."""
POINTS: dict[str, tuple[str, ...]] = {
    "moderate": FAUST,
    "split": FAUST,
    "prioritise": FAUST,
    "dispatch": (*TRANSACTION, "leading", "restored"),
    "render": (
        "read", "prepared", "sent-to-device", "step", "rendered", "encoded", "object-put", "produced", "acknowledged",
        "commit-sent",
    ),
    "inspect": (*WORKER, "fetched", "judged"),
    "mux": (*WORKER, "fetched", "assembled", "thumbnail-put", "contact-sheet-put", "video-put"),
    "track": (*TRANSACTION, "assigned"),
    "notify": (*WORKER, "delivered"),
    "reply": WORKER,
}  # fmt: skip
"""Every point, by stage."""

_listener: Listener | None = None


def listen(listener: Listener | None) -> None:
    """Have `listener` called with stage and point, each time one is reached. Test builds only."""
    global _listener
    _listener = listener


def reached(stage: str, point: str) -> None:
    """This process is at a named moment."""
    if _listener is not None:
        _listener(stage, point)
