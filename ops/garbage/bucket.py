"""The lifecycle rules of a store's bucket: read, and written with ours in them."""

from collections.abc import Sequence
from typing import Any

from botocore.exceptions import ClientError

from ops.garbage.lifecycle import Rule, merged, missing, ours
from ops.settings import Settings
from ops.storage.s3 import S3Store
from ops.storage.s3_errors import code_of, s3_errors
from schemas.errors import Fatal, Transient

_UNKNOWN = {"NotImplemented", "MethodNotAllowed"}
_KEPT = "TransitionDefaultMinimumObjectSize"


def wanted(settings: Settings, store: S3Store) -> list[Rule]:
    """Our rules for this store."""
    return ours(store.bucket[2], settings.chunk_retention_h, settings.input_retention_h)


def rules(store: S3Store) -> Sequence[Rule]:
    """All rules of the bucket. Raises Fatal and Transient as the store does."""
    return list(_configuration(store).get("Rules", []))


def apply(store: S3Store, wanted: Sequence[Rule]) -> Sequence[Rule]:
    """Put our rules in; those that were missing or different. S3 only takes all rules at once, so somebody who changes
    rules in the same second may be overwritten, or overwrite us: the latter raises Transient."""
    before = _configuration(store)
    changed = missing(before.get("Rules", []), wanted)
    if not changed:
        return []
    client, bucket, _ = store.bucket
    more = {_KEPT: before[_KEPT]} if _KEPT in before else {}
    with s3_errors(f"cannot set the lifecycle rules of {bucket}"):
        client.put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration={"Rules": merged(before.get("Rules", []), wanted)}, **more
        )
    if missing(rules(store), wanted):
        raise Transient(f"the lifecycle rules of {bucket} are not what was written; run it again")
    return changed


def _configuration(store: S3Store) -> dict[str, Any]:
    client, bucket, _ = store.bucket
    with s3_errors(f"cannot read the lifecycle rules of {bucket}"):
        try:
            answer: dict[str, Any] = client.get_bucket_lifecycle_configuration(Bucket=bucket)
        except ClientError as exc:
            if code_of(exc) == "NoSuchLifecycleConfiguration":
                return {}
            if code_of(exc) in _UNKNOWN:
                raise Fatal(
                    "this S3 server knows no lifecycle rules; `reelbus gc` tidies the store without them"
                ) from exc
            raise
    return answer
