"""docs/reference/bad-input.md, from what is really answered. `python -m tests.bad_input.table` writes it."""

import base64
from dataclasses import dataclass
from pathlib import Path

from ops.settings import PACKAGE_ROOT, Settings
from schemas import tenants as tenants_schema
from schemas.errors import InvalidMessage
from stream_processors.moderate import tenant_keys
from stream_processors.moderate.core import Rejected, Rules, judge
from stream_processors.moderate.shell import load_rules
from tests.bad_input.cases import CASES, KINDS, PREFIX, Case

PAGE = PACKAGE_ROOT / "docs" / "reference" / "bad-input.md"
SHOWN = 150
"""Longest message that is shown whole."""
TENANTS = """
[[tenants.default.keys]]
id = "k"
hmac_secret_file = "k"
[[tenants.other.keys]]
id = "other"
hmac_secret_file = "k"
"""
INTRO = """\
# What happens to bad input
Every row is a record that the tests send to `jobs.requested.standard`: to the judgement of `moderate`, and through the
running stage on a real broker. This page is written from the answers (`make generated`), and a test compares it with
them.

*rejected*: the caller is told, as event, state, terminal record and reply, with `code`, `field` and `message`, and by
webhook when the request could be read as a whole. *dead letter*: no job can be named, or the sender is not proven, so
nobody is told; the record goes to `dlq.<topic>` with the message in a header. Either way the record after it is handled
as if nothing had been.
"""


@dataclass(frozen=True)
class Answer:
    """What a record gets. code: "" for a dead letter."""

    code: str
    field: str
    message: str


def rules(signed: bool) -> Rules:
    """The judgement as shipped, with or without a tenants file."""
    shipped = load_rules(Settings(prefix=PREFIX), semantic=False)
    if not signed:
        return shipped
    secret = base64.b64encode(b"s" * 32).decode()
    tenants = tenant_keys.build(tenants_schema.parse(TENANTS), {"k": secret}, PREFIX)
    return Rules(shipped.offer, shipped.policy, tenants)


def answer(case: Case, by: Rules) -> Answer:
    """What `moderate` says to it. Fails for a record that is let through."""
    try:
        verdict = judge(case.record(), "standard", by)
    except InvalidMessage as exc:
        return Answer("", "", str(exc))
    assert isinstance(verdict, Rejected), f"{case.what}: let through"
    assert verdict.event.reason is not None
    return Answer(verdict.event.reason.code, verdict.event.reason.field, verdict.event.reason.message)


def page() -> str:
    """The whole page."""
    by = {signed: rules(signed) for signed in (False, True)}
    parts = [INTRO]
    for kind, title in KINDS.items():
        rows = [case for case in CASES if case.kind == kind]
        if rows:
            parts.append(f"\n## {title}\n| sent | answer | what it says |\n|---|---|---|\n")
            parts += [_row(case, answer(case, by[case.signed])) for case in rows]
    parts.append(SAME_ID)
    return "".join(parts)


SAME_ID = """
## One job id, several requests
| sent | answer |
|---|---|
| the same request 100 times, side by side | one job; every chunk is rendered once |
| another request under the id of a known job | `idempotency_conflict` in a `rejected` reply; the first job goes on |
"""


def _row(case: Case, said: Answer) -> str:
    what = f"`{said.code}`" + (f" at `{said.field}`" if said.field else "") if said.code else "dead letter"
    message = said.message if len(said.message) <= SHOWN else said.message[:SHOWN] + " ..."
    return f"| {_cell(case.what)} | {what} | {_cell(message)} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("$", "\\$")


def write(path: Path = PAGE) -> None:
    """Bring the page in line."""
    path.write_text(page())


if __name__ == "__main__":
    write()
