"""The page of the contract: complete, self-contained, and safe whatever the texts say."""

from html.parser import HTMLParser
from typing import Any

from ops import asyncapi
from ops.exports import asyncapi_page

DOCUMENT = asyncapi.document()
SCHEMAS = DOCUMENT["components"]["schemas"]


class _Page(HTMLParser):
    """What a browser would see of a page: ids, links, tags, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("href", "src"):
                self.links.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_needs_nothing_but_itself() -> None:
    page = _Page(asyncapi_page.page(DOCUMENT))
    assert page.links
    assert all(link.startswith("#") for link in page.links)
    assert not page.tags & {"script", "img", "link", "iframe", "object", "embed", "base", "form"}


def test_links_of_the_page_lead_somewhere() -> None:
    page = _Page(asyncapi_page.page(DOCUMENT))
    assert len(set(page.ids)) == len(page.ids)
    assert {link[1:] for link in page.links} <= set(page.ids)


def test_the_page_shows_every_topic_and_every_field() -> None:
    words = _Page(asyncapi_page.page(DOCUMENT)).words
    for channel in DOCUMENT["channels"].values():
        assert (channel["address"] or channel["title"]) in words
    for schema in (each["schema"] for name, each in SCHEMAS.items() if name.endswith(".avro")):
        assert all(field["doc"].replace("`", "") in words for field in schema["fields"])


def _poisoned(plain: Any, poison: str) -> Any:
    """The document with something nasty in every text for people and in every example."""
    if isinstance(plain, list):
        return [_poisoned(each, poison) for each in plain]
    if not isinstance(plain, dict):
        return plain
    nasty = ("description", "doc", "summary", "title", "pattern", "default", "unit", "symbols")
    made = {name: _poisoned(value, poison) for name, value in plain.items()}
    return {name: poison if name in nasty and isinstance(value, str) else value for name, value in made.items()}


def test_the_page_escapes_everything() -> None:
    poisoned = _poisoned(DOCUMENT, "\"'><script>alert(1)</script>&`<img src=x>`")
    poisoned["channels"]["jobs.state"]["messages"]["JobState.avro"]["examples"] = [
        {"name": "</pre><script>", "payload": {"</pre><script>x": "</details><img src=x onerror=y>"}}
    ]
    clean, nasty = _Page(asyncapi_page.page(DOCUMENT)), _Page(asyncapi_page.page(poisoned))
    assert nasty.tags == clean.tags
    assert "<script>alert(1)</script>" in nasty.words
