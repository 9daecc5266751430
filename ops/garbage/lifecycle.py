"""Rules by which S3 itself tidies a bucket: a backstop for when nobody runs `reelbus gc`. Pure.

A rule knows no live jobs, so its days must be longer than any job can take: requests wait up to 7 days in Kafka.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

Rule = Mapping[str, Any]

LEAST_DAYS = 30
UPLOAD_DAYS = 1


def ours(prefix: str, chunk_retention_h: int, input_retention_h: int) -> list[Rule]:
    """The rules of a store.

    prefix: what names in the bucket begin with, with a slash at its end; "" for none
    """
    expired = (("chunks", chunk_retention_h), ("inputs", input_retention_h))
    rules: list[Rule] = [
        {
            "ID": f"reelbus {prefix}{name}",
            "Status": "Enabled",
            "Filter": {"Prefix": f"{prefix}{name}/"},
            "Expiration": {"Days": max(LEAST_DAYS, 3 * ceil(hours / 24))},
        }
        for name, hours in expired
    ]
    return [
        *rules,
        {
            "ID": f"reelbus {prefix}uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": prefix},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UPLOAD_DAYS},
        },
    ]


def merged(there: Sequence[Rule], wanted: Sequence[Rule]) -> list[Rule]:
    """The bucket's rules with ours as they should be; those of others stay as they are, and in their place.

    A rule of the old form (Prefix beside ID) is written as a filter, which means the same: S3 takes no mix of both.
    """
    named = {rule["ID"]: rule for rule in wanted}
    kept = [named.pop(rule.get("ID", ""), _filtered(rule)) for rule in there]
    return [*kept, *named.values()]


def missing(there: Sequence[Rule], wanted: Sequence[Rule]) -> list[Rule]:
    """Our rules that are not there, or not as they should be."""
    found = {rule.get("ID", ""): _filtered(rule) for rule in there}
    return [rule for rule in wanted if found.get(rule["ID"]) != rule]


def sentence(rule: Rule) -> str:
    """A rule for a person."""
    prefix = _filtered(rule).get("Filter", {}).get("Prefix", "")
    parts = [f"{name} {dict(value)}" for name, value in rule.items() if isinstance(value, Mapping) and name != "Filter"]
    return f"{rule.get('ID', '(no id)')}: {rule.get('Status', '')} for {prefix or 'all objects'}: {', '.join(parts)}"


def _filtered(rule: Rule) -> Rule:
    if "Filter" in rule or "Prefix" not in rule:
        return rule
    return {**{name: value for name, value in rule.items() if name != "Prefix"}, "Filter": {"Prefix": rule["Prefix"]}}
