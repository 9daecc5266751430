"""The moderation interface, and the combination of several providers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ops.settings import Settings
from schemas.work import FrameVerdict
from stream_processors.inspect.core import BlocklistPolicy, OpenNsfwPolicy, Policy, ProviderPolicy, combine
from stream_processors.inspect.service_policies import AzurePolicy, OcrPolicy, OpenAiPolicy, RekognitionPolicy

SHIPPED_PROMPTS = Path(Settings().policy)


class FrameModerator(Protocol):
    """Judges pictures. Any exception means "no answer": the chunk waits and is judged later.
    Fatal: what an operator must put right first."""

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


def _make(policy: ProviderPolicy, folder: Path, prompt_policy: Path) -> FrameModerator:
    # A provider's libraries are loaded only when the policy names it.
    match policy:
        case OpenNsfwPolicy():
            from stream_processors.inspect.opennsfw import OpenNsfw

            return OpenNsfw(policy)
        case BlocklistPolicy():
            from stream_processors.inspect.blocklist import Blocklist

            return Blocklist(policy)
        case OpenAiPolicy() | RekognitionPolicy() | AzurePolicy():
            return _service(policy, folder)
        case OcrPolicy():
            from ops.prompt_policy.loading import load_policy
            from stream_processors.inspect.ocr import Ocr

            return Ocr(policy, load_policy(prompt_policy))


def _service(policy: OpenAiPolicy | RekognitionPolicy | AzurePolicy, folder: Path) -> FrameModerator:
    from stream_processors.inspect.services.asking import Asking, rules_of

    match policy:
        case OpenAiPolicy():
            from stream_processors.inspect.services.over_http import open_ai

            return Asking(open_ai(policy, folder), policy, rules_of(policy, "openai"))
        case AzurePolicy():
            from stream_processors.inspect.services.over_http import azure_safety

            return Asking(azure_safety(policy, folder), policy, rules_of(policy, "azure"))
        case RekognitionPolicy():
            from stream_processors.inspect.services.rekognition import Rekognition

            return Asking(Rekognition(policy, folder), policy, rules_of(policy, "rekognition"))


def make_moderator(policy: Policy, folder: Path = Path(), prompt_policy: Path = SHIPPED_PROMPTS) -> FrameModerator:
    """The moderator that a policy describes. Raises Fatal when a provider cannot be loaded.

    folder:        where the policy's file lies; files that it names are relative to it
    prompt_policy: file of the rules by which text in frames is judged
    """
    return AnyBlocks([_make(provider, folder, prompt_policy) for provider in policy.providers])
