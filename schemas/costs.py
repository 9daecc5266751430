"""What a chunk costs: learnt from finished ones, with the registry's figure as a start. Pure.

A chunk of a kind that was seen costs the mean of those seen, the newer ones counting more. One of another size, length
or number of steps costs as much as the seen kind that is nearest to it in work, in proportion to the work; where the
model was never seen on that pool, the registry's figure, in proportion to its frames.
"""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from schemas.plan import ChunkSpec
from schemas.work import LearntCost

NEWEST_SHARE = 0.05
"""Weight of the newest chunk once many were seen; before that all count alike."""


def kind_of(pool: str, spec: ChunkSpec) -> LearntCost:
    """The kind of a chunk, with nothing learnt about it yet."""
    return LearntCost(
        pool=pool,
        model=spec.model,
        model_revision=spec.model_revision,
        width_px=spec.width_px,
        height_px=spec.height_px,
        steps=spec.steps,
        frames=spec.frames + spec.given_frames,
    )


def cost_key(kind: LearntCost) -> str:
    """Record key of a kind."""
    size = f"{kind.width_px}x{kind.height_px}"
    return f"{kind.pool}/{kind.model}/{kind.model_revision}/{size}/{kind.steps}/{kind.frames}"


def _work(kind: LearntCost) -> int:
    return kind.width_px * kind.height_px * kind.frames * kind.steps


class CostTable:
    """All that was learnt."""

    def __init__(self, learnt: Iterable[LearntCost] = ()) -> None:
        self._kinds: dict[str, LearntCost] = {}
        self._models: dict[tuple[str, str, str], dict[str, None]] = {}
        for kind in learnt:
            self.put(kind)

    def put(self, kind: LearntCost) -> None:
        """Take over what is known of a kind."""
        key = cost_key(kind)
        self._kinds[key] = kind
        self._models.setdefault((kind.pool, kind.model, kind.model_revision), {})[key] = None

    def learn(self, pool: str, spec: ChunkSpec, device_s: float, at_ms: int) -> LearntCost:
        """A chunk was rendered. device_s: its share of the device's time, above 0."""
        kind = kind_of(pool, spec)
        known = self._kinds.get(cost_key(kind), kind)
        chunks = known.chunks + 1
        share = max(1 / chunks, NEWEST_SHARE)
        known = replace(known, chunk_s=known.chunk_s + share * (device_s - known.chunk_s), chunks=chunks, at_ms=at_ms)
        self.put(known)
        return known

    def expected_s(self, pool: str, spec: ChunkSpec, prior_s: float, clip_frames: int) -> float:
        """Device-seconds that a chunk will take. prior_s: the registry's figure for a clip of clip_frames frames."""
        kind = kind_of(pool, spec)
        known = self._nearest(kind)
        if known is None:
            return prior_s * min(1.0, kind.frames / clip_frames)
        return known.chunk_s * _work(kind) / _work(known)

    def all_s(self, pool: str, specs: Sequence[ChunkSpec], prior_s: float, clip_frames: int) -> float:
        """Device-seconds that the chunks of one plan will take; otherwise as `expected_s`."""
        by_frames = {spec.frames + spec.given_frames: spec for spec in specs}
        costs_s = {n: self.expected_s(pool, spec, prior_s, clip_frames) for n, spec in by_frames.items()}
        return sum(costs_s[spec.frames + spec.given_frames] for spec in specs)

    def seen(self, pool: str, spec: ChunkSpec) -> LearntCost | None:
        """The kind that the expectation of a chunk rests on: its own, or the nearest of its model; None: never seen."""
        return self._nearest(kind_of(pool, spec))

    def _nearest(self, kind: LearntCost) -> LearntCost | None:
        if (own := self._kinds.get(cost_key(kind))) is not None:
            return own
        others = [self._kinds[key] for key in self._models.get((kind.pool, kind.model, kind.model_revision), ())]
        wanted = _work(kind)
        return min(others, key=lambda o: (max(_work(o), wanted) / min(_work(o), wanted), cost_key(o)), default=None)
