"""What moderation says of the texts of a job. Pure."""

from typing import Annotated, Literal

from msgspec import Meta

from schemas.request import Record

MOST_DOUBTS = 16
"""Of a job: with them its plan must stay a record that fits."""


class PromptDoubt(Record, frozen=True, kw_only=True):
    """Why a person is to look at the texts of a job before anything is rendered. The text itself is in the request."""

    field: str
    """Which text, e.g. shots[0].prompt; "shots": all of them together."""
    category: str
    """What is suspected."""
    score: float = 0.0
    """Probability by the check of meaning, 0..1; 0: a term of the policy is in it."""


Doubts = Annotated[tuple[PromptDoubt, ...], Meta(max_length=MOST_DOUBTS)]


class PromptVerdict(Record, frozen=True, kw_only=True):
    """What prompt moderation says."""

    verdict: Literal["allow", "review", "block"]
    """Only allowed prompts are rendered. review: a person decides."""
    policy: str
    """Version of the policy that judged."""
    likeness: str = ""
    """128 bits as 32 hex characters: the fewer differ, the more alike are two jobs' texts."""
    category: str = ""
    """What it found, when blocked, or suspects, when a person is to look."""
