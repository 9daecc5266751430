"""A collection in real S3 servers: listing, ages, deletion, the owner's mark."""

from typing import Any
from uuid import uuid4

import boto3
import pytest

from ops.garbage.collecting import collect
from ops.settings import Settings
from ops.storage.local_s3 import S3Endpoint
from ops.storage.open import open_store
from schemas.chunks import chunk_keys
from schemas.errors import Fatal
from schemas.ids import chunk_object_key
from schemas.topics import HOUR_MS
from tests.conftest import MakeSettings
from tests.core.plans import plan
from tests.e2e.test_gc import TOPICS, now_ms, put, scheduled, write

pytestmark = [pytest.mark.s3, pytest.mark.kafka]


@pytest.fixture(params=["moto_endpoint", "versitygw_endpoint"])
def settings(request: Any, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    endpoint: S3Endpoint = request.getfixturevalue(request.param)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", endpoint.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", endpoint.secret_key)
    bucket = f"test-{uuid4()}"
    boto3.session.Session().client("s3", endpoint_url=endpoint.url, region_name="us-east-1").create_bucket(
        Bucket=bucket
    )
    return make_settings(TOPICS, store=f"s3://{bucket}/some/prefix", s3_endpoint_url=endpoint.url)


def test_what_nobody_names_goes_and_a_live_jobs_chunks_stay(settings: Settings, make_settings: MakeSettings) -> None:
    store, live = open_store(settings), plan("live", chunks=3)
    write(settings, *scheduled(live))
    gone = [chunk_object_key("x", f"{n:064x}") for n in range(20)]
    put(store, *chunk_keys(live), *gone)
    assert collect(settings, store, now_ms() + 47 * HOUR_MS).deleted == {}
    assert collect(settings, store, now_ms() + 49 * HOUR_MS).deleted == {"chunk_unused": 20}
    assert set(store.list("chunks/")) == set(chunk_keys(live))
    assert collect(settings, store, now_ms() + 49 * HOUR_MS).deleted == {}
    other = settings.replace(prefix=make_settings(TOPICS, prefix=settings.prefix + "x").prefix)
    with pytest.raises(Fatal, match="kept tidy by"):
        collect(other, store, now_ms() + 49 * HOUR_MS)
