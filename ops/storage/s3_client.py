"""boto3's client as the store needs it."""

from typing import Any

import boto3
from botocore.config import Config

from ops.bus.pulse import beat
from ops.storage.s3_errors import s3_errors


def s3_client(endpoint_url: str, max_attempts: int, timeout_s: float) -> Any:
    """A client that talks to no one yet; safe to use from many threads.

    endpoint_url: S3-compatible server; "" for AWS
    max_attempts: tries of one request, with botocore's standard back-off
    timeout_s:    longest silence of the server
    """
    config = Config(
        signature_version="s3v4",
        connect_timeout=min(timeout_s, 10.0),
        read_timeout=timeout_s,
        retries={"mode": "standard", "total_max_attempts": max_attempts},
        # Servers other than AWS are reached by address or a single name, so the bucket goes into the path.
        s3={"addressing_style": "path" if endpoint_url else "auto"},
        # We send and check SHA-256 of our own; botocore's default CRC would only cost time and break old servers.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = boto3.session.Session()
    with s3_errors("cannot open the object store"):
        client: Any = session.client(
            "s3",
            region_name=session.region_name or "us-east-1",
            endpoint_url=endpoint_url or None,
            config=config,
        )
    # A server that is silent is waited for, attempt by attempt: that is no hang.
    client.meta.events.register("before-send.s3", lambda **_: beat())
    return client
