"""The moderation interface, and the combination of several providers."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.work import FrameVerdict
from stream_processors.inspect.core import BlocklistPolicy, OpenNsfwPolicy, Policy, ProviderPolicy, combine


class FrameModerator(Protocol):
    """Judges pictures. Any exception means "no answer": the chunk waits and is judged later."""

    def judge(self, frames: NDArray[np.uint8]) -> FrameVerdict:
        """frames: (N, H, W, 3) RGB, N >= 1. One verdict for all of them."""
        ...


class AnyBlocks:
    """Asks several moderators in turn; the first block decides and spares the rest."""

    def __init__(self, moderators: Sequence[FrameModerator]) -> None:
        self._moderators = tuple(moderators)

    def judge(self, frames: NDArray[np.uint8]) -> FrameVerdict:
        verdicts = []
        for moderator in self._moderators:
            verdicts.append(moderator.judge(frames))
            if verdicts[-1].verdict == "block":
                break
        return combine(verdicts)


def _make(policy: ProviderPolicy) -> FrameModerator:
    # A provider's libraries are loaded only when the policy names it.
    match policy:
        case OpenNsfwPolicy():
            from stream_processors.inspect.opennsfw import OpenNsfw

            return OpenNsfw(policy)
        case BlocklistPolicy():
            from stream_processors.inspect.blocklist import Blocklist

            return Blocklist(policy)


def make_moderator(policy: Policy) -> FrameModerator:
    """The moderator that a policy describes. Raises Fatal when a provider cannot be loaded."""
    return AnyBlocks([_make(provider) for provider in policy.providers])
