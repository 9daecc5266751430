"""Rows of every form, right and wrong, for the bench that kills a batch."""

import json
from pathlib import Path
from typing import Any

WRONG_EVERY, BLANK_EVERY, NAMED_EVERY, FLAT_EVERY = 1000, 997, 10, 3


def _kind(number: int) -> str:
    if number % BLANK_EVERY == 5:
        return "blank"
    if number % WRONG_EVERY == 7:
        return "wrong"
    return "named" if number % NAMED_EVERY == 0 else "flat" if number % FLAT_EVERY == 0 else "whole"


def write_rows(path: Path, right: int) -> int:
    """Whole requests, flat rows and rows with an id of their own, `right` in all; wrong ones and blank lines between
    them. Returns the wrong ones.
    """
    wrong = number = 0
    with path.open("w", encoding="utf-8") as stream:
        while right:
            number += 1
            shot = {"prompt": f"a red ball number {number} moving left", "duration_s": 2}
            row: dict[str, Any] = {**shot, "lane": "bulk", "metadata.n": number}
            match _kind(number):
                case "blank":
                    stream.write("\n")
                    continue
                case "wrong":
                    row["duration_s"] = -1
                case "whole":
                    row = {"shots": [shot], "lane": "standard"}
                case "named":
                    row["custom_id"] = f"row-{number}"
            right -= _kind(number) != "wrong"
            wrong += _kind(number) == "wrong"
            stream.write(json.dumps(row) + "\n")
    return wrong
