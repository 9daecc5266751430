"""Where callers' files may come from, as far as their addresses tell."""

import pytest

from ops.net.addresses import Refused
from ops.net.sources import Place, S3Object, Sources, check_source, parse_places
from schemas.errors import Fatal
from tests.hostile import urls

OPEN = Sources(parse_places("uploads/{tenant}, shared s3://deep/a/b/"))


def test_places() -> None:
    assert OPEN.places == (Place("uploads", "{tenant}/"), Place("shared", ""), Place("deep", "a/b/"))
    assert parse_places("") == ()


@pytest.mark.parametrize("text", ["Upper", "a", "x/y z/..bad,UPPER", "https://bucket"])
def test_bad_places_are_named(text: str) -> None:
    with pytest.raises(Fatal, match="input_buckets"):
        parse_places(text)


@pytest.mark.parametrize(
    ("uri", "key"),
    [
        ("s3://uploads/acme/cat.png", "acme/cat.png"),
        ("s3://shared/cat.png", "cat.png"),
        ("s3://deep/a/b/c?d=e", "a/b/c?d=e"),
    ],
)
def test_objects_in_allowed_places(uri: str, key: str) -> None:
    found = check_source(uri, "acme", OPEN)
    assert isinstance(found, S3Object)
    assert found.key == key


@pytest.mark.parametrize(
    "uri",
    [
        "s3://uploads/other/cat.png", "s3://uploads/acmecat.png", "s3://uploads/acme/../other/cat.png", "s3://deep/a/cat",
        "s3://uploads/acme//cat.png", "s3://elsewhere/cat.png", "s3://uploads", "s3://uploads/", "s3:///cat.png",
        "s3://uploads/acme/./cat", "s3://UPLOADS/acme/cat.png", "s3://uploads@elsewhere/acme/cat", "s3://169.254.169.254/x",
        "s3://uploads/acme/c\u00e4t.png", "s3://uploads/acme/c at.png", "s3://uploads/acme/",
    ],
)  # fmt: skip
def test_other_objects_are_refused(uri: str) -> None:
    with pytest.raises(Refused):
        check_source(uri, "acme", OPEN)


def test_no_buckets_unless_the_operator_says_so() -> None:
    with pytest.raises(Refused, match="input_buckets"):
        check_source("s3://uploads/acme/cat.png", "acme", Sources())


@pytest.mark.parametrize("url", urls.GOOD)
def test_good_addresses_pass(url: str) -> None:
    check_source(url, "acme", Sources())


def test_most_hostile_addresses_fall_at_the_door() -> None:
    """Only names that lead inside, and redirects, need a lookup to be told."""
    passed = []
    for url in urls.HOSTILE:
        try:
            check_source(url, "acme", Sources())
        except Refused:
            continue
        passed.append(url)
    assert all(".example" in url or "localhost" in url.lower() for url in passed), passed
