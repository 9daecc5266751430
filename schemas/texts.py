"""The texts of a job that end up in its pictures, its sound or under them. Pure.

What is not built yet (narration, subtitles ...) is refused before anything is judged; it is listed all the same: what
gets built is judged. A test holds this list against the fields of the request.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from schemas.request import JobRequest


@dataclass(frozen=True, slots=True)
class Text:
    """One text to judge. field: names it in a refusal. wanted: False for what should not be seen."""

    field: str
    text: str
    wanted: bool = True


def texts_of(request: JobRequest) -> tuple[Text, ...]:
    """Every text of the job that is not empty, in the order in which a viewer meets them."""
    return tuple(text for text in _all(request) if text.text)


def digest(texts: Sequence[Text]) -> str:
    """Hex SHA-256 of texts and their places: what a person names who has read them."""
    return hashlib.sha256(msgspec.json.encode([(text.field, text.text) for text in texts])).hexdigest()


def _all(request: JobRequest) -> Iterator[Text]:
    for index, shot in enumerate(request.shots):
        yield Text(f"shots[{index}].prompt", shot.prompt)
        yield Text(f"shots[{index}].negative_prompt", shot.negative_prompt, wanted=False)
        if shot.background is not None:
            yield Text(f"shots[{index}].background.prompt", shot.background.prompt or "")
    if request.narration is not None:
        yield Text("narration.text", request.narration.text)
    if request.subtitles is not None:
        for index, cue in enumerate(request.subtitles.cues):
            yield Text(f"subtitles.cues[{index}].text", cue.text)
    if request.music is not None:
        yield Text("music.prompt", request.music.prompt)
    if request.label is not None:
        yield Text("label.text", request.label.text)
