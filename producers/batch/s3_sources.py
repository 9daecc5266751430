"""Objects of an S3 store as inputs of a batch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.errors import InvalidMessage, Transient


def _client(endpoint_url: str) -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=endpoint_url or None)


def _parts(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def listed(uri: str, endpoint_url: str) -> list[tuple[str, int, str]]:
    """Address, size and version of the objects that an s3:// address means: one, or with a * at its end all that begin
    so. Raises InvalidMessage when there is none, Transient when the store does not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, key = _parts(uri)
    if "*" in key.rstrip("*") or not bucket or not key:
        raise InvalidMessage(f"{uri}: expected s3://bucket/key, or s3://bucket/beginning*")
    try:
        pages = _client(endpoint_url).get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key.rstrip("*"))
        entries: list[Mapping[str, Any]] = [entry for page in pages for entry in page.get("Contents", ())]
    except (BotoCoreError, ClientError) as exc:
        raise Transient(f"{uri}: {exc}") from None
    wanted = [e for e in entries if (key.endswith("*") and not e["Key"].endswith("/")) or e["Key"] == key]
    if not wanted:
        raise InvalidMessage(f"{uri}: no such object")
    return sorted((f"s3://{bucket}/{e['Key']}", int(e["Size"]), str(e["ETag"]).strip('"')) for e in wanted)


def fetch(uri: str, target: Path, endpoint_url: str) -> None:
    """The object as a file: a stream of hours would not survive, and Parquet is read from its end."""
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, key = _parts(uri)
    try:
        _client(endpoint_url).download_file(bucket, key, str(target))
    except (BotoCoreError, ClientError) as exc:
        raise Transient(f"{uri}: {exc}") from None
