"""Pictures in S3 buckets: from allowed buckets only, over presigned addresses, on every kind of server."""

import contextlib
from pathlib import Path

import boto3
import pytest

from ops.net.download import NoFile
from ops.net.fetching import fetch
from ops.net.sources import S3Object, Sources, check_source, parse_places
from ops.storage.local_s3 import S3Endpoint
from ops.storage.presigning import presigner
from tests.hostile.good_media import good

BUCKET = "uploads-of-callers"


@pytest.fixture(params=["moto_endpoint", "versitygw_endpoint"])
def endpoint(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> S3Endpoint:
    found: S3Endpoint = request.getfixturevalue(request.param)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", found.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", found.secret_key)
    client = boto3.session.Session().client("s3", endpoint_url=found.url, region_name="us-east-1")
    with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
        client.create_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key="acme/a-picture+1.png", Body=good()["picture.png"])
    return found


def test_an_object_of_an_allowed_bucket_is_fetched(endpoint: S3Endpoint, tmp_path: Path) -> None:
    sources = Sources(parse_places(BUCKET + "/{tenant}"))
    target = check_source(f"s3://{BUCKET}/acme/a-picture+1.png", "acme", sources)
    assert target == S3Object(BUCKET, "acme/a-picture+1.png")
    fetch(presigner(endpoint.url)(target), tmp_path / "file", operators=True)
    assert (tmp_path / "file").read_bytes() == good()["picture.png"]


def test_a_missing_object_is_the_callers_fault(endpoint: S3Endpoint, tmp_path: Path) -> None:
    with pytest.raises(NoFile, match=r"status 40[34]"):
        fetch(presigner(endpoint.url)(S3Object(BUCKET, "acme/none.png")), tmp_path / "file", operators=True)


def test_without_its_signature_the_address_is_worth_nothing(versitygw_endpoint: S3Endpoint, tmp_path: Path) -> None:
    with pytest.raises(NoFile, match=r"status 40[0-9]"):
        fetch(f"{versitygw_endpoint.url}/{BUCKET}/acme/a-picture+1.png", tmp_path / "file", operators=True)
