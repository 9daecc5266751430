"""What the simulated devices are like: how long a chunk, a batch, a model's load takes; who is slow, who dies. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.errors import InvalidMessage
from schemas.ids import seed_of
from schemas.registry import ModelEntry


@dataclass(frozen=True, slots=True)
class Costs:
    """True device-seconds. Of a chunk: by (model, width_px, height_px), by model, else the registry's prior. The
    pipeline renders a whole clip for every chunk, so a chunk's length does not matter."""

    by_size: Mapping[tuple[str, int, int], float] = field(default_factory=dict)
    by_model: Mapping[str, float] = field(default_factory=dict)
    load_s: float | None = None
    """Seconds to load a model that is not warm; None: each model's prior from the registry."""

    def loading_s(self, entry: ModelEntry) -> float:
        """Of this model."""
        return entry.load_s if self.load_s is None else self.load_s

    def chunk_s(self, entry: ModelEntry, width_px: int, height_px: int) -> float:
        """Of one chunk rendered alone at this native size."""
        exact = self.by_size.get((entry.name, width_px, height_px))
        return exact if exact is not None else self.by_model.get(entry.name, entry.chunk_cost_s)


@dataclass(frozen=True, slots=True)
class Hardware:
    """All devices. A chunk's jitter is a function of its name and the seed, so the same chunk costs the same whatever
    the order, the policy and the number of devices."""

    costs: Costs = Costs()
    jitter: float = 0.0
    """A chunk takes its cost times a factor that is uniform over 1 - jitter .. 1 + jitter."""
    batch_gain: float = 0.0
    """What a batch saves: k chunks take k / (1 + (k - 1) * gain) times their mean. 0: as long as one after another; 1:
    as long as one."""
    seed: int = 0
    slow: Mapping[int, float] = field(default_factory=dict)
    """By number of the worker: its chunks take so many times longer."""
    deaths: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    """By number of the worker: the second at which its process dies, and how long it stays away (may be infinite)."""

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("load time", self.costs.load_s or 0.0, 0.0, 86_400.0),
            ("jitter", self.jitter, 0.0, 0.9),
            ("batch gain", self.batch_gain, 0.0, 1.0),
        ):
            if not least <= value <= most:
                raise InvalidMessage(f"{name}: {value} must be between {least:g} and {most:g}")

    def chunk_s(self, entry: ModelEntry, width_px: int, height_px: int, chunk_id: str) -> float:
        """What this chunk takes on a worker of normal speed."""
        cost_s = self.costs.chunk_s(entry, width_px, height_px)
        if not self.jitter:
            return cost_s
        return cost_s * (1 + self.jitter * (2 * seed_of("jitter", str(self.seed), chunk_id) / 2**31 - 1))

    def batch_s(self, chunks_s: list[float], worker: int) -> float:
        """What a batch of chunks takes on one worker, each of which would take chunks_s alone."""
        return sum(chunks_s) / (1 + (len(chunks_s) - 1) * self.batch_gain) * self.slow.get(worker, 1.0)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers of one pool. hop_ms: what a record takes from a worker to the scheduler, and back."""

    pool: str
    workers: int
    models: Mapping[str, ModelEntry]
    hardware: Hardware
    hop_ms: int = 10
