"""The object store in an S3 bucket, through boto3.

Conditional writes (If-None-Match: *) are part of S3 since 2024 for PutObject and CompleteMultipartUpload. Credentials,
profile and region come from boto3's own chain (environment, ~/.aws, instance role).
"""

import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from ops.storage.probe import probe_store
from ops.storage.s3_client import s3_client
from ops.storage.s3_errors import MISSING, RACED, TAKEN, code_of, explain, s3_errors
from ops.storage.s3_multipart import upload_parts
from ops.storage.store import (
    Listed,
    ObjectCorrupt,
    ObjectInfo,
    ObjectMissing,
    PutOutcome,
    check_content_type,
    check_expiry,
    check_key,
    check_prefix,
    is_key,
)
from ops.storage.transfer import BLOCK_BYTES, blocks_of, join_verified, sha256_and_size, write_verified
from schemas.errors import Transient

MULTIPART_FROM_BYTES = 32 << 20
PART_BYTES = 16 << 20
CONDITIONAL_TRIES = 8
"""Tries of a put whose outcome S3 leaves open (409), or whose winner is gone when asked for."""


_T = TypeVar("_T")


class _Taken(Exception):
    """The key is taken (412), at least a moment ago."""


class _Raced(Exception):
    """Another conditional write of this key was under way (409)."""


class S3Store:
    """Implements `Store` in `bucket` under `prefix`. One client, safe to use from many threads."""

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        endpoint_url: str = "",
        *,
        multipart_from_bytes: int = MULTIPART_FROM_BYTES,
        part_bytes: int = PART_BYTES,
        max_attempts: int = 4,
        timeout_s: float = 30.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Talks to no one yet.

        prefix:               first part of every object's name in the bucket, without slash at the ends; "" for none
        endpoint_url:         S3-compatible server; "" for AWS
        multipart_from_bytes: objects of at least this size go up in parts of `part_bytes` (S3: at least 5 MiB)
        max_attempts:         tries of one request, with botocore's standard back-off, before it is Transient
        timeout_s:            longest silence of the server
        pause:                waits between the tries of a raced put, in seconds
        """
        self._bucket, self._prefix = bucket, f"{check_key(prefix)}/" if prefix else ""
        self._multipart_from_bytes, self._part_bytes = multipart_from_bytes, part_bytes
        self._pause = pause
        self._client: Any = s3_client(endpoint_url, max_attempts, timeout_s)

    @property
    def bucket(self) -> tuple[Any, str, str]:
        """boto3's client, the bucket, and what our names in it begin with: for what concerns the bucket as a whole."""
        return self._client, self._bucket, self._prefix

    def put(self, key: str, source: Path | bytes, content_type: str) -> tuple[PutOutcome, ObjectInfo]:
        """See Store.put. A file is read twice when it goes up in parts: its sha256 is part of the first request."""
        check_key(key)
        check_content_type(content_type)
        large = (len(source) if isinstance(source, bytes) else source.stat().st_size) >= self._multipart_from_bytes
        # A tiny object is cheaper to send in vain than to ask for first; a large one is not.
        if large and (present := self.head(key)) is not None:
            return PutOutcome.EXISTED, present
        if not large and isinstance(source, Path):
            source = source.read_bytes()
        info = ObjectInfo(key, *sha256_and_size(blocks_of(source)), content_type)
        for attempt in range(CONDITIONAL_TRIES):
            if attempt:
                self._pause(0.05 * 2**attempt)
            try:
                if isinstance(source, bytes) and not large:
                    self._put_whole(info, source)
                else:
                    self._put_parts(info, source)
            except _Raced:
                continue
            except _Taken:
                if (winner := self.head(key)) is not None:
                    return PutOutcome.EXISTED, winner
                continue
            return PutOutcome.CREATED, info
        raise Transient(f"object {key}: no clear outcome of a conditional put in {CONDITIONAL_TRIES} tries")

    def head(self, key: str) -> ObjectInfo | None:
        """See Store.head. S3 answers a missing bucket like a missing object; `probe` tells them apart."""
        name = self._name(key)
        try:
            answer = self._client.head_object(Bucket=self._bucket, Key=name)
        except ClientError as exc:
            if code_of(exc) in MISSING:
                return None
            raise explain(exc, f"cannot look up object {key}") from exc
        except BotoCoreError as exc:
            raise explain(exc, f"cannot look up object {key}") from exc
        return _info(key, answer)

    def read(self, key: str) -> bytes:
        """See Store.read."""
        return self._verified(key, join_verified)

    def fetch(self, key: str, target: Path) -> ObjectInfo:
        """See Store.fetch."""

        def take(blocks: Iterator[bytes], info: ObjectInfo) -> ObjectInfo:
            write_verified(blocks, info, target)
            return info

        return self._verified(key, take)

    def delete(self, key: str) -> None:
        """See Store.delete."""
        name = self._name(key)
        with s3_errors(f"cannot delete object {key}"):
            self._client.delete_object(Bucket=self._bucket, Key=name)

    def list(self, prefix: str) -> Iterator[str]:
        """See Store.list."""
        return (found.key for found in self.listing(prefix))

    def listing(self, prefix: str) -> Iterator[Listed]:
        """One request for each 1,000 keys; names that no key can have are somebody else's, left out."""
        full = self._prefix + check_prefix(prefix)
        with s3_errors(f"cannot list objects {prefix!r}"):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=full):
                for entry in page.get("Contents", []):
                    if is_key(key := entry["Key"].removeprefix(self._prefix)):
                        yield Listed(key, entry["Size"], int(entry["LastModified"].timestamp() * 1000))

    def uri(self, key: str) -> str:
        """s3://bucket/name of the object."""
        return f"s3://{self._bucket}/{self._name(key)}"

    def url(self, key: str, expires_s: int) -> str:
        """Presigned GET. Who has it can read the object until it expires: do not log it."""
        target = {"Bucket": self._bucket, "Key": self._name(key)}
        with s3_errors(f"cannot sign a URL for object {key}"):
            signed = self._client.generate_presigned_url("get_object", target, ExpiresIn=check_expiry(expires_s))
        return str(signed)

    def probe(self) -> None:
        """See Store.probe."""
        probe_store(self)

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _target(self, info: ObjectInfo) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._name(info.key)}

    def _verified(self, key: str, take: Callable[[Iterator[bytes], ObjectInfo], _T]) -> _T:
        """What `take` makes of the object. One that it finds corrupt is read once more: callers delete what is broken,
        and this may have been altered on its way here."""
        for last in (False, True):
            info, blocks = self._get(key)
            try:
                with s3_errors(f"cannot read object {key}"):
                    return take(blocks, info)
            except ObjectCorrupt:
                if last:
                    raise
        raise AssertionError

    def _get(self, key: str) -> tuple[ObjectInfo, Iterator[bytes]]:
        name = self._name(key)
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=name)
        except ClientError as exc:
            if code_of(exc) in MISSING:
                raise ObjectMissing(f"object {key} is not in the store") from exc
            raise explain(exc, f"cannot read object {key}") from exc
        except BotoCoreError as exc:
            raise explain(exc, f"cannot read object {key}") from exc
        return _info(key, answer), answer["Body"].iter_chunks(BLOCK_BYTES)

    def _put_whole(self, info: ObjectInfo, data: bytes) -> None:
        self._conditional(
            info,
            self._client.put_object,
            Body=data,
            ContentType=info.content_type,
            Metadata={"sha256": info.sha256},
            ChecksumSHA256=b64encode(bytes.fromhex(info.sha256)).decode(),
        )

    def _put_parts(self, info: ObjectInfo, source: Path | bytes) -> None:
        """Parts go up one after the other, so memory stays at one part. Whatever fails, the upload is aborted."""
        with s3_errors(f"cannot store object {info.key}"):
            upload = self._client.create_multipart_upload(
                **self._target(info),
                ContentType=info.content_type,
                Metadata={"sha256": info.sha256},
                ChecksumAlgorithm="SHA256",
            )["UploadId"]
        try:
            parts = upload_parts(self._client, self._target(info), upload, info, source, self._part_bytes)
            done = {"UploadId": upload, "MultipartUpload": {"Parts": parts}}
            self._conditional(info, self._client.complete_multipart_upload, **done)
        except BaseException:
            self._abort(info, upload)
            raise

    def _conditional(self, info: ObjectInfo, request: Callable[..., Any], **arguments: Any) -> None:
        """Sends the request that makes the object visible, if the key is free. Raises _Taken or _Raced."""
        doing = f"cannot store object {info.key}"
        try:
            request(**self._target(info), **arguments, IfNoneMatch="*")
        except ClientError as exc:
            # An upload that is gone was completed by a try whose answer got lost.
            if code_of(exc) in TAKEN or code_of(exc) == "NoSuchUpload":
                raise _Taken from exc
            if code_of(exc) in RACED:
                raise _Raced from exc
            raise explain(exc, doing) from exc
        except BotoCoreError as exc:
            raise explain(exc, doing) from exc

    def _abort(self, info: ObjectInfo, upload: str) -> None:
        """Frees the parts. When this fails too, the bucket's lifecycle rule for incomplete uploads has to."""
        try:
            self._client.abort_multipart_upload(**self._target(info), UploadId=upload)
        except (ClientError, BotoCoreError):
            return


def _info(key: str, answer: dict[str, Any]) -> ObjectInfo:
    recorded = answer.get("Metadata", {}).get("sha256", "")
    if not recorded:
        raise ObjectCorrupt(f"object {key}: it has no sha256 in its metadata, so reelbus did not write it")
    return ObjectInfo(key, recorded, answer["ContentLength"], answer.get("ContentType", "binary/octet-stream"))
