"""Where callers' files may come from: https anywhere public, and the buckets that the operator allows. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from ops.net.addresses import Refused, Target, check_address, parse_url
from schemas.errors import Fatal

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY = re.compile(r"[!-~]{1,1024}")
_S3 = "s3://"
TENANT = "{tenant}"


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket, and what keys in it must begin with; "{tenant}" in the prefix stands for the tenant's name."""

    bucket: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Sources:
    """What this installation fetches from.

    places:        S3 buckets; none: s3:// addresses are refused
    allow_private: https hosts in private and loopback networks as well
    """

    places: tuple[Place, ...] = ()
    allow_private: bool = False


HTTPS_ONLY = Sources()


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object in an allowed bucket."""

    bucket: str
    key: str


def parse_places(text: str) -> tuple[Place, ...]:
    """Setting input_buckets: bucket[/prefix], separated by commas or spaces. Raises Fatal that names the fault."""
    places = []
    for item in re.split(r"[,\s]+", text.strip()):
        if not item:
            continue
        bucket, _, prefix = item.removeprefix(_S3).partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise Fatal(f"input_buckets: {item!r}: expected bucket or bucket/prefix, e.g. uploads/{TENANT}")
        places.append(Place(bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""))
    return tuple(places)


def check_source(uri: str, tenant: str, sources: Sources) -> Target | S3Object:
    """What an address of a caller's file means. Looks nothing up: names are checked again when they are dialled.

    Raises Refused with what would be right.
    """
    if uri.startswith(_S3):
        return _s3_object(uri, tenant, sources.places)
    return check_https(uri, sources.allow_private)


def check_https(url: str, allow_private: bool) -> Target:
    """The parts of an https URL whose host may be called as far as its name tells. Raises Refused."""
    target = parse_url(url)
    if target.scheme != "https":
        raise Refused("URL must begin with https://")
    try:
        address = ip_address(target.host)
    except ValueError:
        return target
    check_address(address, allow_private=allow_private)
    return target


def _s3_object(uri: str, tenant: str, places: Iterable[Place]) -> S3Object:
    bucket, _, key = uri.removeprefix(_S3).partition("/")
    if not _BUCKET.fullmatch(bucket) or not _KEY.fullmatch(key) or set(key.split("/")) & {"", ".", ".."}:
        raise Refused("expected s3://bucket/key, the key of printable ASCII characters without empty, . or .. parts")
    allowed = [place for place in places if place.bucket == bucket]
    if not allowed:
        raise Refused("this bucket is not one that files are taken from (setting input_buckets); give an https URL")
    prefixes = [place.prefix.replace(TENANT, tenant) for place in allowed]
    if not any(key.startswith(prefix) for prefix in prefixes):
        raise Refused(f"keys in this bucket must begin with {' or '.join(prefixes)}")
    return S3Object(bucket, key)
