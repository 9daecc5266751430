"""Asks a service about frames, one after the other, and makes a verdict of its scores."""

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from ops.bus.pulse import beat
from schemas.errors import Fatal
from schemas.work import FrameVerdict
from stream_processors.inspect.core import combine, verdict_of
from stream_processors.inspect.service_policies import ServicePolicy
from stream_processors.inspect.services.breaker import Breaker
from stream_processors.inspect.services.outcome import Unanswered
from stream_processors.inspect.services.pictures import jpeg
from stream_processors.inspect.services.waiting import LONGEST_IN_PLACE_S, pause_s
from stream_processors.inspect.thresholds import GRAVEST_FIRST, UNLISTED, check_review, merged

log = logging.getLogger(__name__)


class Service(Protocol):
    """A moderation service. name: of provider and model, for verdicts."""

    name: str

    def scores(self, jpeg: bytes, timeout_s: float) -> Mapping[str, float]:
        """Scores of one picture by category, 0 to 1. Raises Unanswered, or Fatal for what an operator must put
        right."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """From which score on a category is blocked, and from which a person is asked."""

    thresholds: Mapping[str, float]
    review_from: Mapping[str, float]


def rules_of(policy: ServicePolicy, provider: str) -> Rules:
    """Of a policy, with the defaults. Raises Fatal for what it may not say."""
    thresholds = merged(policy.thresholds, provider)
    check_review(policy.review_from, thresholds, provider)
    return Rules(thresholds, {str(name): score for name, score in policy.review_from.items()})


def verdict_by_category(frames: Sequence[Mapping[str, float]], rules: Rules, provider: str) -> FrameVerdict:
    """The verdict of several frames' scores: of categories that block the gravest one. What a service does not speak of
    counts as 0, and a name that is not in the list has a threshold too."""
    names = dict.fromkeys([*GRAVEST_FIRST, *sorted({name for scores in frames for name in scores})])
    verdicts = [
        verdict_of(
            [scores.get(name, 0.0) for scores in frames],
            rules.thresholds.get(name, UNLISTED),
            provider,
            name,
            rules.review_from.get(name),
        )
        for name in names
    ]
    return replace(combine(verdicts), provider=provider)


class Asking:
    """A FrameModerator. One a service and process: the breaker is its."""

    def __init__(
        self,
        service: Service,
        policy: ServicePolicy,
        rules: Rules,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._service, self._policy, self._rules = service, policy, rules
        self._breaker = Breaker(policy.breaker_failures, policy.breaker_open_s)
        self._clock_s, self._sleep, self._jitter = clock_s, sleep, jitter

    def judge(self, frames: NDArray[np.uint8]) -> FrameVerdict:
        """Frame by frame; one that is blocked spares the rest. Raises Unanswered, or Fatal."""
        end_s = self._clock_s() + self._policy.chunk_timeout_s
        scores: list[Mapping[str, float]] = []
        for frame in frames:
            scores.append(self._asked(jpeg(frame), end_s))
            verdict = verdict_by_category(scores, self._rules, self._service.name)
            if verdict.verdict == "block":
                break
        return verdict

    def _asked(self, picture: bytes, end_s: float) -> Mapping[str, float]:
        """Scores of one picture, tried as often as the policy allows."""
        failed_tries = 0
        while True:
            try:
                return self._once(picture, end_s)
            except Unanswered as exc:
                failed_tries += 1
                wait_s = max(
                    pause_s(failed_tries, self._jitter(), exc.retry_after_s), self._breaker.wait_s(self._clock_s())
                )
                patient = wait_s <= LONGEST_IN_PLACE_S and self._clock_s() + wait_s < end_s
                if not exc.again or failed_tries >= self._policy.tries or not patient:
                    raise
                log.info("%s; asking again in %.1f s", exc, wait_s)
                beat()  # a wait and a request are each shorter than what the watchdog allows
                self._sleep(wait_s)

    def _once(self, picture: bytes, end_s: float) -> Mapping[str, float]:
        beat()
        name, now_s = self._service.name, self._clock_s()
        if now_s >= end_s:
            raise Unanswered(f"provider {name}: not done in {self._policy.chunk_timeout_s:.0f} s", again=False)
        if not self._breaker.begin(now_s):
            left_s, failures = self._breaker.wait_s(now_s), self._breaker.failures
            raise Unanswered(f"provider {name}: left alone for {left_s:.0f} s after {failures} failures", again=False)
        try:
            scores = self._service.scores(picture, min(self._policy.timeout_s, end_s - now_s))
        except Unanswered as exc:
            if exc.reachable:
                self._breaker.succeeded()
            else:
                self._breaker.failed(self._clock_s(), exc.retry_after_s)
            raise Unanswered(
                f"provider {name}: {exc}", again=exc.again, reachable=exc.reachable, retry_after_s=exc.retry_after_s
            ) from None
        except Fatal as exc:
            raise Fatal(f"provider {name}: {exc}") from None
        self._breaker.succeeded()
        return scores
