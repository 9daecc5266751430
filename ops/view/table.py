"""One look for all tables. Pure."""

from rich.box import SIMPLE_HEAD
from rich.table import Table


def plain_table(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """A table with a line under its head and no other frame; `numbers` are the columns aligned to the right."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=True)
    return table
