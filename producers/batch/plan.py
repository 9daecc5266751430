"""How the rows of a batch become requests. Pure."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from schemas.ids import event_id

Raw = Mapping[str, Any]
"""A row: column -> value."""


class RowFault(Exception):
    """What is wrong with one row. field: path in the request, or a column; "" when it is the row itself."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True)
class Plan:
    """The same plan and rows give the same jobs with the same ids and the same bytes.

    template: a request with {column} in its texts; None: the columns are the fields of the request
    matrix:   column -> values; every row becomes one job per combination
    defaults: dotted field -> value, for rows that do not have it
    """

    batch_id: str
    tenant: str = "default"
    template: Mapping[str, Any] | None = None
    matrix: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def cells(self) -> list[dict[str, Any]]:
        """Every combination of the matrix, in a fixed order; one empty one without a matrix."""
        return [dict(zip(self.matrix, values, strict=True)) for values in itertools.product(*self.matrix.values())]

    def fingerprint(self) -> str:
        """Names the plan but not its batch: a batch is not resumed with another one."""
        parts = [self.tenant, self.template, [[k, list(v)] for k, v in self.matrix.items()], dict(self.defaults)]
        return event_id("batch-plan", json.dumps(parts, sort_keys=True, default=str))

    def named(self, batch_id: str) -> "Plan":
        """The plan under a batch id."""
        return replace(self, batch_id=batch_id)


def texts_of(template: Any) -> Iterator[str]:
    """Every text of a template."""
    if isinstance(template, str):
        yield template
    elif isinstance(template, Mapping):
        for value in template.values():
            yield from texts_of(value)
    elif isinstance(template, list | tuple):
        for value in template:
            yield from texts_of(value)
