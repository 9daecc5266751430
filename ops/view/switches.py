"""What operators have paused or drained, as a table. Pure."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ops.view.table import plain_table
from ops.view.units import moment
from schemas.work import Switch


def listed(switches: Sequence[Switch]) -> Table | Text:
    """One row for each that is off."""
    if not switches:
        return Text("nothing is paused or drained")
    table = plain_table("paused", "name", "since", "by", "reason")
    for switch in switches:
        word = "drained worker" if switch.kind == "worker" else switch.kind
        table.add_row(word, Text(switch.name), moment(switch.at_ms), Text(switch.by), Text(switch.reason))
    return table
