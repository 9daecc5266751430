"""Short-lived addresses of objects in the buckets that the operator lets callers' files be taken from.

Only these are ever signed for, and who fetches gets the address of one object for minutes, no credentials.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from ops.net.sources import S3Object
from schemas.errors import Fatal

EXPIRES_S = 300


def presigner(endpoint_url: str) -> Callable[[S3Object], str]:
    """A function that signs a GET of an object. endpoint_url: S3-compatible server; "" for AWS.

    Credentials and region come from boto3's own chain, as for the store. The function raises Fatal when there are none.
    """

    @cache
    def signing() -> Callable[[str, str], str]:
        try:
            import boto3
            from botocore.config import Config

            from ops.storage.s3_errors import s3_errors
        except ModuleNotFoundError as exc:
            raise Fatal(f"input_buckets needs {exc.name}: install reelbus[s3]") from exc
        config = Config(signature_version="s3v4", s3={"addressing_style": "path" if endpoint_url else "auto"})
        with s3_errors("cannot sign addresses of callers' files"):
            session = boto3.session.Session()
            region = session.region_name or "us-east-1"
            client: Any = session.client("s3", region_name=region, endpoint_url=endpoint_url or None, config=config)

        def sign(bucket: str, key: str) -> str:
            with s3_errors(f"cannot sign for bucket {bucket}"):
                where = {"Bucket": bucket, "Key": key}
                return str(client.generate_presigned_url("get_object", where, ExpiresIn=EXPIRES_S))

        return sign

    return lambda target: signing()(target.bucket, target.key)
