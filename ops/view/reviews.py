"""What waits for a person, as tables. Pure."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ops.view.table import plain_table
from ops.view.units import moment
from schemas.reviews import ReviewCase, name_of


def listed(cases: Sequence[ReviewCase]) -> Table | Text:
    """One row for each job."""
    if not cases:
        return Text("nothing waits for a review")
    table = plain_table("job", "case", "since", "chunks", "suspected", "score", numbers=("chunks", "score"))
    for case in cases:
        worst = max(case.chunks, key=lambda chunk: chunk.score)
        kinds = ", ".join(dict.fromkeys(chunk.category for chunk in case.chunks))
        table.add_row(
            Text(case.job), name_of(case), moment(case.at_ms), str(len(case.chunks)), kinds, f"{worst.score:.2f}"
        )
    return table


def shown(case: ReviewCase) -> Table:
    """One row for each chunk of a case."""
    table = plain_table("chunk", "shot", "frames", "suspected", "score", "prompt", numbers=("chunk", "shot", "frames"))
    for chunk in case.chunks:
        numbers = str(chunk.index), str(chunk.shot), str(chunk.frames)
        table.add_row(*numbers, chunk.category, f"{chunk.score:.2f}", Text(chunk.prompt))
    return table
