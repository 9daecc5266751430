"""Lifecycle rules in a bucket of a real S3 server. Whether a server carries them out is the server's matter."""

from typing import Any
from uuid import uuid4

import boto3
import pytest

from ops.garbage import bucket, lifecycle
from ops.settings import Settings
from ops.storage.local_s3 import S3Endpoint
from ops.storage.s3 import S3Store
from schemas.errors import Fatal

pytestmark = pytest.mark.s3
THEIRS = {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}}


@pytest.fixture
def client(moto_endpoint: S3Endpoint, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto_endpoint.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto_endpoint.secret_key)
    return boto3.session.Session().client("s3", endpoint_url=moto_endpoint.url, region_name="us-east-1")


@pytest.fixture
def store(client: Any, moto_endpoint: S3Endpoint) -> S3Store:
    name = f"test-{uuid4()}"
    client.create_bucket(Bucket=name)
    return S3Store(name, "some/prefix", moto_endpoint.url)


def test_ours_are_put_beside_those_of_others(store: S3Store, client: Any) -> None:
    name = store.bucket[1]
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [THEIRS]})
    wanted = bucket.wanted(Settings(), store)
    assert lifecycle.missing(bucket.rules(store), wanted) == wanted
    assert bucket.apply(store, wanted) == wanted
    assert bucket.rules(store) == [THEIRS, *wanted]
    assert {rule["Filter"]["Prefix"] for rule in wanted} == {
        "some/prefix/chunks/", "some/prefix/inputs/", "some/prefix/",
    }  # fmt: skip
    assert bucket.apply(store, wanted) == []


def test_a_new_retention_changes_only_our_rule(store: S3Store) -> None:
    bucket.apply(store, bucket.wanted(Settings(), store))
    longer = bucket.wanted(Settings(chunk_retention_h=24 * 40), store)
    assert [rule["ID"] for rule in bucket.apply(store, longer)] == ["reelbus some/prefix/chunks"]
    assert bucket.rules(store) == longer


def test_a_server_without_rules_is_told_of(versitygw_endpoint: S3Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", versitygw_endpoint.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", versitygw_endpoint.secret_key)
    name = f"test-{uuid4()}"
    boto3.session.Session().client("s3", endpoint_url=versitygw_endpoint.url, region_name="us-east-1").create_bucket(
        Bucket=name
    )
    with pytest.raises(Fatal, match=r"no lifecycle rules; `reelbus gc`"):
        bucket.rules(S3Store(name, "", versitygw_endpoint.url))


def test_a_missing_bucket_is_said(moto_endpoint: S3Endpoint, client: Any) -> None:
    with pytest.raises(Fatal, match="NoSuchBucket"):
        bucket.rules(S3Store(f"absent-{uuid4()}", "", moto_endpoint.url))
