"""What waits for a person, as tables. Pure."""

from collections.abc import Iterator, Sequence
from unicodedata import category

from rich.table import Table
from rich.text import Text

from ops.view.table import plain_table
from ops.view.units import count, moment
from schemas.reviews import ReviewCase, name_of


def listed(cases: Sequence[ReviewCase]) -> Table | Text:
    """One row for each job."""
    if not cases:
        return Text("nothing waits for a review")
    table = plain_table("job", "case", "since", "what", "suspected", "score", numbers=("score",))
    for case in cases:
        found = case.doubts or case.chunks
        kinds = ", ".join(dict.fromkeys(one.category for one in found))
        what = count(len(case.texts), "text") if case.texts else count(len(case.chunks), "chunk")
        worst = max((one.score for one in found), default=0.0)
        table.add_row(Text(case.job), name_of(case), moment(case.at_ms), what, kinds, _score(worst))
    return table


def shown(case: ReviewCase) -> Iterator[Table]:
    """All that is to be looked at: a table of what is suspected in texts and one of the texts, or one of chunks."""
    if case.texts:
        yield _suspected(case)
        table = plain_table("field")
        table.add_column("text", overflow="fold")
        for text in case.texts:
            table.add_row(text.field, Text(_visible(text.text)))
        yield table
    else:
        yield _chunks(case)


def _suspected(case: ReviewCase) -> Table:
    table = plain_table("in", "suspected", "score", numbers=("score",))
    for doubt in case.doubts:
        where = "all texts together" if doubt.field == "shots" else doubt.field
        table.add_row(where, doubt.category, _score(doubt.score))
    return table


def _chunks(case: ReviewCase) -> Table:
    table = plain_table("chunk", "shot", "frames", "suspected", "score", "prompt", numbers=("chunk", "shot", "frames"))
    for chunk in case.chunks:
        numbers = str(chunk.index), str(chunk.shot), str(chunk.frames)
        table.add_row(*numbers, chunk.category, f"{chunk.score:.2f}", Text(chunk.prompt))
    return table


def _score(score: float) -> str:
    """A term has none."""
    return f"{score:.2f}" if score else "term"


def _visible(text: str) -> str:
    """With what nobody could see: letters may be hidden in characters that no terminal draws."""
    return "".join(f"<U+{ord(c):04X}>" if category(c) in ("Cf", "Cn", "Co", "Cs") else c for c in text)
