"""The docs say what the code says: tables, examples and links. No services, no heavy imports."""

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from ops import reference
from ops.cli.app import app
from ops.cli.connection import Connection
from ops.settings import PACKAGE_ROOT, PREFIX, Settings
from schemas.codec import decode
from schemas.events import JobFinished
from schemas.lifecycle import advance
from schemas.request import JobOrder, JobRequest

DOCS = PACKAGE_ROOT / "docs"
REFERENCE = DOCS / "reference"
_FENCE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_RECORD = re.compile(r'\{\s*"(?:job_id|job|id)"')


def _pages() -> list[Path]:
    """Every Markdown page that is part of the repository, new ones too."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    found = subprocess.run(command, cwd=PACKAGE_ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [PACKAGE_ROOT / name for name in found if (PACKAGE_ROOT / name).is_file()]


PAGES = _pages()


def _rows(page: Path, head: str) -> list[list[str]]:
    """Cells of the table whose head line starts with `head`."""
    lines = page.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(head))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
    return rows


def _named(page: Path, head: str) -> dict[str, list[str]]:
    """The same, by the first cell without its backticks; a name must not come twice."""
    rows = _rows(page, head)
    named = {row[0].strip("`"): row[1:] for row in rows}
    assert len(named) == len(rows), f"{page.name}: a name stands twice below {head!r}"
    return named


# ---- settings and topics -------------------------------------------------------------------------------------------


def _shown(value: object) -> str:
    if not isinstance(value, str | bool | int | float):
        return "none"
    text = str(value).replace(str(PACKAGE_ROOT), "<package>")
    return f"`{text}`" if text else "empty"


def test_settings_and_their_defaults() -> None:
    table = _named(REFERENCE / "settings.md", "| variable")
    expected = {PREFIX + f.name.upper(): _shown(getattr(Settings(), f.name)) for f in fields(Settings)}
    assert {name: cells[0] for name, cells in table.items()} == expected


def test_tables_say_what_the_code_says() -> None:
    """`make generated` writes them."""
    found = {page.name for page in reference.pages()}
    assert found >= {"request.md", "events.md", "topics.md"}
    for page in reference.pages():
        assert reference.written(page.read_text()) == page.read_text(), f"{page.name}: run make generated"


def test_no_table_is_missing() -> None:
    shown = "".join(page.read_text() for page in reference.pages())
    assert all(f"<!-- table: {name} -->" in shown for name in reference.TABLES)


# ---- the request and the results -----------------------------------------------------------------------------------


def test_the_diagram_shows_only_steps_of_the_table() -> None:
    arrows = re.findall(r"^    (\S+) --> (\w+): (job\.\w+)", (REFERENCE / "events.md").read_text(), re.MULTILINE)
    assert len(arrows) == 7
    for before, after, event in arrows:
        assert advance(None if before == "[*]" else before, event) == after


def _codes() -> Iterator[str]:
    """Every constant that the code gives to a reason: Reason(code=...), JobRejected(...), moderate's _refusal(...),
    dispatch's _later(code=...)."""
    place = {"JobRejected": 0, "_refusal": 2}
    shared = [PACKAGE_ROOT / "schemas" / name for name in ("availability.py", "lifecycle.py")]
    files = [*(PACKAGE_ROOT / "stream_processors").rglob("*.py"), *shared]
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            given: list[ast.expr] = []
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                name = node.func.id
                given = [k.value for k in node.keywords if k.arg == "code" and name in ("Reason", "_later", *place)]
                given += node.args[place[name] :][:1] if name in place else []
            elif isinstance(node, ast.FunctionDef) and node.name == "_refusal":
                given = node.args.defaults[-1:]
            yield from (v.value for v in given if isinstance(v, ast.Constant) and isinstance(v.value, str))


def test_every_reason_code() -> None:
    listed = {*_named(REFERENCE / "request.md", "| code |"), *_named(REFERENCE / "events.md", "| code |")}
    assert listed == set(_codes())


# ---- commands ------------------------------------------------------------------------------------------------------


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    for part, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, f"{name} {part}")
    if not hasattr(command, "commands") or command.invoke_without_command:
        yield name, command


COMMANDS = dict(_commands(typer.main.get_command(app), "reelbus"))


def _sections() -> dict[str, str]:
    parts = re.split(r"^## ", (REFERENCE / "cli.md").read_text(), flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0].strip("`"): part for part in parts}


def test_every_command_has_a_section() -> None:
    assert {name for name in _sections() if name.startswith("reelbus ")} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command(name: str) -> None:
    shared = {f.name for f in fields(Connection)}
    own = {p.opts[0] for p in COMMANDS[name].params if p.param_type_name == "option" and p.name not in shared}
    assert set(re.findall(r"^\| `(--[a-z0-9-]+)", _sections()[name], re.MULTILINE)) == own


def test_every_connection_option() -> None:
    listed = set(re.findall(r"^\| `(--[a-z0-9-]+)", _sections()["Connection options"], re.MULTILINE))
    assert listed == {"--" + f.name.replace("_", "-") for f in fields(Connection)}


# ---- links and examples --------------------------------------------------------------------------------------------


def _anchors(page: Path) -> set[str]:
    """Anchors that GitHub makes of headings: lower case, no punctuation, spaces as dashes."""
    heads = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PACKAGE_ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link}: no such file"
        if anchor:
            assert anchor in _anchors(target), f"{link}: no such heading"


def _records(page: Path) -> Iterator[dict[str, Any]]:
    """JSON objects in code blocks, inside shell or Java as well, that begin like a record."""
    for block in _FENCE.findall(page.read_text()):
        end = 0
        for found in _RECORD.finditer(block):
            if found.start() >= end:
                plain, end = json.JSONDecoder().raw_decode(block, found.start())
                yield plain


def _kind_of(plain: dict[str, Any]) -> type[msgspec.Struct] | None:
    marks: dict[str, type[msgspec.Struct]] = {"shots": JobRequest, "action": JobOrder, "finished_at_ms": JobFinished}
    return next((kind for mark, kind in marks.items() if mark in plain), None)


def test_examples_are_valid_records() -> None:
    found: dict[Path, set[type[msgspec.Struct]]] = {}
    for page in PAGES:
        for plain in _records(page):
            if (kind := _kind_of(plain)) is not None:
                decode(kind, json.dumps(plain).encode())
                found.setdefault(page, set()).add(kind)
    assert JobRequest in found[PACKAGE_ROOT / "README.md"]
    assert JobRequest in found[REFERENCE / "request.md"]
    assert {JobRequest, JobOrder} <= found[DOCS / "how-to" / "publish-from-any-language.md"]


def test_commands_in_the_docs_can_be_parsed() -> None:
    """`reelbus ...` lines of shell blocks name commands and options that exist, and submit gets a file or --prompt."""
    seen = 0
    for page in PAGES:
        for block in _FENCE.findall(page.read_text()):
            for line in re.findall(r"\breelbus ([a-z].*)", block):
                named = [" ".join(line.split()[:count]) for count in (3, 2, 1)]
                name = next((one for one in named if f"reelbus {one}" in COMMANDS), None)
                if name is None:
                    continue
                command, rest = COMMANDS[f"reelbus {name}"], line.removeprefix(name)
                words = re.sub(r'"[^"]*"', "TEXT", rest.partition("#")[0])
                known = {opt for p in command.params for opt in p.opts}
                unknown = set(re.findall(r"(?<=\s)--[a-z0-9-]+", words)) - known
                assert not unknown, f"{page.name}: reelbus {name}{rest}: {unknown}"
                if name == "submit" and "TEXT" in words:
                    assert "--prompt TEXT" in words, f"{page.name}: reelbus submit{rest}: a prompt goes with --prompt"
                seen += 1
    assert seen >= 10


def test_the_webhook_receiver_of_the_how_to_accepts_our_signature_and_no_other() -> None:
    import base64
    from datetime import UTC, datetime

    signing = pytest.importorskip("stream_processors.notify.signing")
    text = (DOCS / "how-to" / "webhooks.md").read_text()
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {}
    exec(compile(block[1], "webhooks.md", "exec"), names)
    ours, foreign = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))
    body = b'{"id": "x"}'
    headers = signing.Signer([foreign, ours]).headers("x", datetime.now(UTC), body)
    assert names["verify"](ours, headers, body)
    assert not names["verify"](ours, headers, body + b" ")
    assert not names["verify"](ours, signing.Signer([foreign]).headers("x", datetime.now(UTC), body), body)
    late = signing.Signer([ours]).headers("x", datetime(2020, 1, 1, tzinfo=UTC), body)
    assert not names["verify"](ours, late, body)
