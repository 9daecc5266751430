"""One contract, every object store: a directory, moto's S3 server, versitygw."""

import hashlib
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import product
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import uuid4

import boto3
import pytest

from ops.storage.directory import DirectoryStore
from ops.storage.local_s3 import S3Endpoint
from ops.storage.s3 import S3Store
from ops.storage.store import ObjectCorrupt, ObjectInfo, ObjectMissing, PutOutcome, Store
from schemas.errors import Fatal

MIB = 1 << 20
LARGE = bytes(range(256)) * (4096 * 11)  # 11 MiB: three parts of 5 MiB
RACERS = pytest.mark.parametrize("padding", [0, 6 * MIB], ids=["whole", "in-parts"])
BAD_KEYS = ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", ".objects/x", "A", "a b", "a\n", "ä", "a" * 201, "a\\b"]


def info_of(key: str, data: bytes, content_type: str) -> ObjectInfo:
    return ObjectInfo(key, hashlib.sha256(data).hexdigest(), len(data), content_type)


@lru_cache
def plain_client(endpoint: S3Endpoint) -> Any:
    """boto3 itself, to look behind the store's back. Takes long to make, so one for each server."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint.url,
        region_name="us-east-1",
        aws_access_key_id=endpoint.access_key,
        aws_secret_access_key=endpoint.secret_key,
    )


class StoreContract:
    """What every backend must do. A backend gives `store` (empty) and `damage`."""

    @pytest.fixture
    def damage(self) -> Callable[[str], None]:
        """Replaces the stored bytes of a key behind the store's back, same length, metadata unchanged."""
        raise NotImplementedError

    def test_put_then_read_gives_the_bytes_and_their_info(self, store: Store) -> None:
        outcome, info = store.put("chunks/a.mkv", b"pixels", "video/x-matroska")
        assert (outcome, info) == (PutOutcome.CREATED, info_of("chunks/a.mkv", b"pixels", "video/x-matroska"))
        assert store.head("chunks/a.mkv") == info
        assert store.read("chunks/a.mkv") == b"pixels"

    def test_empty_object(self, store: Store) -> None:
        store.put("empty", b"", "application/octet-stream")
        assert store.head("empty") == info_of("empty", b"", "application/octet-stream")
        assert store.read("empty") == b""

    @pytest.mark.parametrize("data", [b"x" * (MIB + 7), LARGE], ids=["whole", "in-parts"])
    def test_a_file_goes_in_and_comes_out(self, store: Store, tmp_path: Path, data: bytes) -> None:
        source, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
        source.write_bytes(data)
        target.write_bytes(b"older file")
        outcome, info = store.put("videos/v.mp4", source, "video/mp4")
        assert (outcome, info) == (PutOutcome.CREATED, info_of("videos/v.mp4", data, "video/mp4"))
        assert store.fetch("videos/v.mp4", target) == info == store.head("videos/v.mp4")
        assert target.read_bytes() == data
        assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["in.mp4", "out.mp4"]

    @pytest.mark.parametrize("second", [b"late", LARGE], ids=["whole", "in-parts"])
    def test_the_first_writer_wins(self, store: Store, second: bytes) -> None:
        _, first = store.put("k", b"first", "text/plain")
        assert store.put("k", second, "video/mp4") == (PutOutcome.EXISTED, first)
        assert store.read("k") == b"first"

    @RACERS
    def test_of_racing_writers_one_wins_and_all_see_it(self, store: Store, padding: int) -> None:
        writers = 6
        start = Barrier(writers)

        def write(number: int) -> tuple[PutOutcome, ObjectInfo]:
            data = b"%d" % number + bytes(padding)
            start.wait()
            return store.put("raced", data, "text/plain")

        with ThreadPoolExecutor(writers) as pool:
            answers = list(pool.map(write, range(writers)))
        winners = [number for number, (outcome, _) in enumerate(answers) if outcome is PutOutcome.CREATED]
        assert len(winners) == 1
        assert {info for _, info in answers} == {info_of("raced", b"%d" % winners[0] + bytes(padding), "text/plain")}
        assert store.read("raced")[:1] == b"%d" % winners[0]

    def test_equal_bytes_from_racing_writers_are_read_by_all(self, store: Store) -> None:
        start = Barrier(6)

        def write_and_read(_: int) -> bytes:
            start.wait()
            store.put("same", b"same", "text/plain")
            return store.read("same")

        with ThreadPoolExecutor(6) as pool:
            assert set(pool.map(write_and_read, range(6))) == {b"same"}

    def test_a_missing_object(self, store: Store, tmp_path: Path) -> None:
        assert store.head("none/such") is None
        with pytest.raises(ObjectMissing, match="none/such"):
            store.read("none/such")
        with pytest.raises(ObjectMissing, match="none/such"):
            store.fetch("none/such", tmp_path / "out")
        assert list(tmp_path.glob("*out*")) == []

    def test_damaged_bytes_are_never_given_out(
        self, store: Store, tmp_path: Path, damage: Callable[[str], None]
    ) -> None:
        store.put("k", b"0123456789", "text/plain")
        damage("k")
        with pytest.raises(ObjectCorrupt, match="recorded sha256"):
            store.read("k")
        (tmp_path / "out").write_bytes(b"older file")
        with pytest.raises(ObjectCorrupt, match="recorded sha256"):
            store.fetch("k", tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == b"older file"

    def test_delete_is_idempotent_and_frees_the_key(self, store: Store) -> None:
        store.put("a/b/c", b"old", "text/plain")
        store.delete("a/b/c")
        store.delete("a/b/c")
        assert store.head("a/b/c") is None
        assert list(store.list("")) == []
        assert store.put("a/b/c", b"new", "text/plain")[0] is PutOutcome.CREATED
        assert store.read("a/b/c") == b"new"

    def test_list_gives_the_keys_of_a_prefix_in_byte_order(self, store: Store) -> None:
        keys = ["a-b", "a.b", "a/b", "a/b.c", "a/c/d", "a0", "ab/c", "b"]
        for key in reversed(keys):
            store.put(key, key.encode(), "text/plain")
        for prefix in ["", "a", "a/", "a/b", "a/c/", "a/c/d", "ab", "b", "c", "a/c/d/e"]:
            assert list(store.list(prefix)) == [key for key in keys if key.startswith(prefix)], prefix

    def test_a_listing_says_size_and_age(self, store: Store) -> None:
        before_ms = time.time_ns() // 1_000_000
        for key in ("a/1", "a/2", "b/1"):
            store.put(key, key.encode() * 2, "text/plain")
        after_ms = time.time_ns() // 1_000_000
        store.put("a/1", b"later, and too late", "text/plain")
        found = list(store.listing("a/"))
        assert [(one.key, one.size_bytes) for one in found] == [("a/1", 6), ("a/2", 6)]
        # S3 knows seconds only.
        assert all(before_ms - 1000 <= one.made_at_ms <= after_ms for one in found)

    def test_bad_keys_are_refused_everywhere(self, store: Store, tmp_path: Path) -> None:
        calls: list[Callable[[str], object]] = [
            lambda key: store.put(key, b"x", "text/plain"),
            store.head,
            store.read,
            lambda key: store.fetch(key, tmp_path / "out"),
            store.delete,
            lambda key: store.url(key, 60),
        ]
        for key, call in product(BAD_KEYS, calls):
            with pytest.raises(ValueError, match="object key"):
                call(key)

    def test_bad_content_types_are_refused(self, store: Store) -> None:
        for content_type in ["", "video", "video/mp4\r\nX-Evil: 1", "Video/MP4", "a/" + "b" * 61]:
            with pytest.raises(ValueError, match="type/subtype"):
                store.put("k", b"x", content_type)
        assert store.head("k") is None

    def test_the_url_gives_the_bytes_without_credentials(self, store: Store) -> None:
        store.put("videos/v.mp4", b"film", "video/mp4")
        with urllib.request.urlopen(store.url("videos/v.mp4", 60)) as answer:
            assert answer.read() == b"film"
        for expires_s in (0, 7 * 24 * 3600 + 1):
            with pytest.raises(ValueError, match="expires_s"):
                store.url("videos/v.mp4", expires_s)

    def test_the_probe_passes_and_leaves_nothing(self, store: Store) -> None:
        store.probe()
        assert list(store.list("")) == []

    def test_a_missing_source_is_the_callers_bug(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            store.put("k", tmp_path / "absent", "text/plain")
        assert store.head("k") is None


class TestDirectory(StoreContract):
    @pytest.fixture
    def root(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("store")

    @pytest.fixture
    def store(self, root: Path) -> Store:
        return DirectoryStore(root)

    @pytest.fixture
    def damage(self, root: Path) -> Callable[[str], None]:
        def damage(key: str) -> None:
            with (root / key).open("r+b") as stream:
                stream.write(b"X")

        return damage


class S3Contract(StoreContract):
    """What S3 servers must do beyond the contract. A server gives `endpoint`."""

    @pytest.fixture
    def client(self, endpoint: S3Endpoint, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", endpoint.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", endpoint.secret_key)
        return plain_client(endpoint)

    @pytest.fixture
    def bucket(self, client: Any) -> Iterator[str]:
        name = f"test-{uuid4()}"
        client.create_bucket(Bucket=name)
        yield name
        uploads = client.list_multipart_uploads(Bucket=name).get("Uploads", [])
        assert uploads == [], "an upload was neither completed nor aborted"

    @pytest.fixture
    def store(self, endpoint: S3Endpoint, bucket: str) -> Store:
        return S3Store(bucket, "some/prefix", endpoint.url, multipart_from_bytes=6 * MIB, part_bytes=5 * MIB)

    @pytest.fixture
    def damage(self, client: Any, bucket: str) -> Callable[[str], None]:
        def damage(key: str) -> None:
            found = client.get_object(Bucket=bucket, Key=f"some/prefix/{key}")
            changed = b"X" + found["Body"].read()[1:]
            client.put_object(Bucket=bucket, Key=f"some/prefix/{key}", Body=changed, Metadata=found["Metadata"])

        return damage

    def test_keys_live_under_the_prefix(self, store: Store, client: Any, bucket: str) -> None:
        store.put("a/b", b"x", "text/plain")
        client.put_object(Bucket=bucket, Key="a/outside", Body=b"")
        client.put_object(Bucket=bucket, Key="some/prefix/Not A Key", Body=b"")
        assert client.head_object(Bucket=bucket, Key="some/prefix/a/b")["ContentLength"] == 1
        assert list(store.list("")) == ["a/b"]
        assert store.head("a/outside") is None

    def test_no_prefix(self, endpoint: S3Endpoint, bucket: str) -> None:
        store = S3Store(bucket, endpoint_url=endpoint.url)
        store.put("a/b", b"x", "text/plain")
        assert list(store.list("a")) == ["a/b"]

    def test_an_object_of_another_writer_is_not_trusted(self, store: Store, client: Any, bucket: str) -> None:
        client.put_object(Bucket=bucket, Key="some/prefix/foreign", Body=b"x")
        for call in (store.head, store.read, lambda key: store.put(key, b"y", "text/plain")):
            with pytest.raises(ObjectCorrupt, match="no sha256"):
                call("foreign")

    def test_the_url_does_not_show_the_secret(self, store: Store, endpoint: S3Endpoint) -> None:
        address = store.url("videos/v.mp4", 60)
        assert re.search(r"X-Amz-Expires=60\b", address)
        assert f"X-Amz-Credential={endpoint.access_key}" in address
        assert endpoint.secret_key not in address.replace(endpoint.access_key, "")

    def test_a_missing_bucket_is_said_by_the_probe(self, endpoint: S3Endpoint, client: Any) -> None:
        with pytest.raises(Fatal, match=r"NoSuchBucket.*create the bucket"):
            S3Store(f"absent-{uuid4()}", "", endpoint.url).probe()


@pytest.mark.s3
class TestMoto(S3Contract):
    @pytest.fixture
    def endpoint(self, moto_endpoint: S3Endpoint) -> S3Endpoint:
        return moto_endpoint

    # By chance, so a strict xfail would fail by chance. versitygw runs this case, and the client's answers to 412 and
    # 409 are tested one by one in tests/core/test_store_s3_faults.py.
    @pytest.mark.skip(reason="moto 5.2.5 looks for the key and stores in two steps: two racing writers may both win")
    @RACERS
    def test_of_racing_writers_one_wins_and_all_see_it(self, store: Store, padding: int) -> None:
        super().test_of_racing_writers_one_wins_and_all_see_it(store, padding)


@pytest.mark.s3
class TestVersitygw(S3Contract):
    @pytest.fixture
    def endpoint(self, versitygw_endpoint: S3Endpoint) -> S3Endpoint:
        return versitygw_endpoint

    def test_wrong_credentials_are_fatal_and_named(
        self, endpoint: S3Endpoint, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(Fatal, match="AWS_SECRET_ACCESS_KEY"):
            S3Store(bucket, "", endpoint.url).probe()
