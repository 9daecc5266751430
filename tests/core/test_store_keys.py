"""Rules that all stores share: keys, prefixes, and which store the settings name."""

import os.path
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.settings import Settings, SettingsError
from ops.storage.directory import DirectoryStore
from ops.storage.links import blob_name, info_of, is_blob_name
from ops.storage.open import open_store
from ops.storage.s3 import S3Store
from ops.storage.store import check_key, check_prefix, is_key

NEAR_KEYS = st.text(alphabet="ab0/._-\\\n~A", max_size=12) | st.text(max_size=12)
KEYS = st.from_regex(r"[a-z0-9_-][a-z0-9._-]{0,5}(/[a-z0-9_-][a-z0-9._-]{0,5}){0,3}", fullmatch=True).filter(is_key)
CONTENT_TYPES = st.from_regex(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}", fullmatch=True)


@settings(deadline=None)
@given(NEAR_KEYS)
def test_no_key_leads_out_of_the_root_or_into_the_stores_own_folders(text: str) -> None:
    if not is_key(text):
        with pytest.raises(ValueError, match="object key"):
            check_key(text)
        return
    path = os.path.normpath(os.path.join("/root", text))
    assert path == f"/root/{text}"
    assert not path.startswith(("/root/.objects", "/root/.incoming", "/root/.lock"))


@pytest.mark.parametrize("key", ["a", "a/b.mkv", "chunks/0f/x_y-z.0", "a" * 200, "a./b", "-/_"])
def test_good_keys_are_taken_as_they_are(key: str) -> None:
    assert check_key(key) == key


@settings(deadline=None)
@given(KEYS, st.data())
def test_every_start_of_a_key_is_a_prefix(key: str, data: st.DataObject) -> None:
    prefix = key[: data.draw(st.integers(0, len(key)))]
    assert check_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["/", "..", "a/../", ".objects", "A", "a//"])
def test_prefixes_that_no_key_has_are_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="object key"):
        check_prefix(prefix)


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=32), CONTENT_TYPES, st.binary(min_size=8, max_size=8))
def test_a_blobs_name_carries_its_info(sha256: bytes, content_type: str, nonce: bytes) -> None:
    name = blob_name(sha256.hex(), content_type, nonce.hex())
    info = info_of("k", name, 7)
    assert is_blob_name(name)
    assert len(name) <= 255
    assert (info.sha256, info.content_type, info.size_bytes) == (sha256.hex(), content_type, 7)


def test_a_path_opens_a_directory(tmp_path: Path) -> None:
    assert isinstance(open_store(Settings(store=str(tmp_path / "a" / "store"))), DirectoryStore)
    assert (tmp_path / "a" / "store").is_dir()


@pytest.mark.parametrize("store", ["s3://bucket", "s3://bucket/", "s3://bucket/some/prefix/"])
def test_an_s3_address_opens_a_bucket_without_talking_to_it(store: str) -> None:
    assert isinstance(open_store(Settings(store=store, s3_endpoint_url="http://127.0.0.1:9")), S3Store)


@pytest.mark.parametrize("store", ["", "s3://", "s3:///prefix", "gs://bucket", "s3://bucket/../x", "s3://bucket/A"])
def test_a_store_that_cannot_be_is_named(store: str) -> None:
    with pytest.raises(SettingsError, match="store"):
        open_store(Settings(store=store))


def test_an_endpoint_for_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="s3_endpoint_url"):
        open_store(Settings(store=str(tmp_path), s3_endpoint_url="http://127.0.0.1:9"))
