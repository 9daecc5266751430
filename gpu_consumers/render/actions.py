"""What the core asks of the shell, and what comes back from the store. Pure data."""

from dataclasses import dataclass

from schemas.plan import ChunkSpec
from schemas.work import ChunkRendered, ChunkTask, ObjectRef


@dataclass(frozen=True, slots=True)
class Prepare:
    """Is the chunk's object there already? If not, fetch the frames that it starts from. Answer: an Outcome."""

    ticket: int
    task: ChunkTask


@dataclass(frozen=True, slots=True)
class Item:
    """A chunk of a batch, and the names of its scratch files."""

    spec: ChunkSpec
    given: str
    """With the frames that it starts from, or empty."""
    frames: str
    """For its own frames."""


@dataclass(frozen=True, slots=True)
class Send:
    """Put a batch into the inbox of the device process."""

    batch: int
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Tell the device process that nobody wants these chunks of a batch any more: their `Item.frames`."""

    batch: int
    frames: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoadModel:
    """Have the device process load a model before there is work for it."""

    model: str


@dataclass(frozen=True, slots=True)
class StartDevice:
    """Start a device process; what it says is passed on with this generation."""

    generation: int


@dataclass(frozen=True, slots=True)
class KillDevice:
    """SIGKILL the device process if it still lives; it counts as gone from now on."""

    reason: str


@dataclass(frozen=True, slots=True)
class StoreFrames:
    """Encode the frames in a scratch file and put the object."""

    ticket: int
    task: ChunkTask
    frames: str


@dataclass(frozen=True, slots=True)
class Report:
    """Produce the event; answer when the broker has it."""

    ticket: int
    event: ChunkRendered


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Produce the record of this ticket to the dead letters; answer when the broker has it."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Commit:
    """Commit this offset (the next one to read)."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Release:
    """The scratch files of this ticket are not needed any more."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End the process with an error: it cannot go on."""

    reason: str


Device = StartDevice | LoadModel | Send | Withdraw | KillDevice
Action = Device | Prepare | StoreFrames | Report | DeadLetter | Commit | Release | Stop


@dataclass(frozen=True, slots=True)
class Reuse:
    """The object is there."""

    ref: ObjectRef


@dataclass(frozen=True, slots=True)
class Usable:
    """It must be rendered, from the given frames in this scratch file (empty: from none)."""

    given: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """It cannot be rendered; the sentence says why. given_lost: what it starts from is not there, or was broken."""

    error: str
    given_lost: bool = False


@dataclass(frozen=True, slots=True)
class Later:
    """The store gave no answer."""

    error: str


Outcome = Reuse | Usable | Unusable | Later
