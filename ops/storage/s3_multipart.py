"""The parts of a multipart upload to S3."""

from base64 import b64encode
from hashlib import sha256
from io import BytesIO
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO

from ops.storage.s3_errors import s3_errors
from ops.storage.store import ObjectInfo
from ops.storage.transfer import disk_errors
from schemas.errors import Transient

MAX_PARTS = 10_000


def upload_parts(
    client: Any, target: dict[str, Any], upload: str, info: ObjectInfo, source: Path | bytes, part_bytes: int
) -> list[dict[str, Any]]:
    """Sends the source in parts, one after the other, so memory stays at one part. Returns what completes the upload.

    target:     Bucket and Key
    upload:     the upload's id
    part_bytes: size of all parts but the last; more when the object would need over MAX_PARTS of them
    Raises Transient when the source is not what `info` says (it was changed meanwhile).
    """
    size_bytes = max(part_bytes, ceil(info.size_bytes / MAX_PARTS))
    parts: list[dict[str, Any]] = []
    whole = sha256()
    with _open(source) as stream:
        for number in count(1):
            with disk_errors(f"cannot read the source of object {info.key}"):
                if not (data := stream.read(size_bytes)):
                    break
            whole.update(data)
            checksum = b64encode(sha256(data).digest()).decode()
            named = {"UploadId": upload, "PartNumber": number, "ChecksumSHA256": checksum}
            with s3_errors(f"cannot store object {info.key}, part {number}"):
                answer = client.upload_part(**target, **named, Body=data)
            parts.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum})
    if whole.hexdigest() != info.sha256:
        raise Transient(f"object {info.key}: its source was changed while it was stored")
    return parts


def _open(source: Path | bytes) -> BinaryIO:
    return BytesIO(source) if isinstance(source, bytes) else source.open("rb")
