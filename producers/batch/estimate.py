"""What a batch will cost. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.chunks import frames_of
from schemas.limits import chunk_count
from schemas.registry import ModelEntry
from schemas.request import JobRequest


@dataclass(slots=True)
class Estimate:
    """Adds up jobs. The cost of a chunk is its model's prior in the registry; chunks that exist already count too."""

    jobs: int = 0
    in_review: int = 0
    """Of these, so many whose texts a person is to read first."""
    seconds: float = 0.0
    """Of video."""
    chunks: int = 0
    device_s: float = 0.0
    lanes: Counter[str] = field(default_factory=Counter)
    unknown_models: Counter[str] = field(default_factory=Counter)

    def add(self, request: JobRequest, models: Mapping[str, ModelEntry], in_review: bool = False) -> None:
        """One job more."""
        self.jobs += 1
        self.in_review += in_review
        self.lanes[request.lane] += 1
        self.seconds += sum(shot.duration_s for shot in request.shots)
        self.seconds -= sum(transition.duration_s for transition in request.transitions)
        model = models.get(request.model)
        if model is None:
            self.unknown_models[request.model] += 1
            return
        chunks = sum(chunk_count(shot, frames_of(shot.duration_s, request.output.fps), model) for shot in request.shots)
        self.chunks += chunks
        self.device_s += chunks * model.chunk_cost_s

    def wall_s(self, workers: int) -> float:
        """Seconds until the last chunk is rendered, if `workers` devices do nothing else."""
        return self.device_s / workers
