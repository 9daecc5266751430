"""Standard Webhooks signatures, through the standard's own library."""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from standardwebhooks import Webhook

from schemas.errors import Fatal

PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)
"""The standard: 24 to 64 bytes."""


class Signer:
    """Signs with one or more secrets; during a rotation receivers may verify with any of them."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._webhooks = tuple(Webhook(secret) for secret in secrets)

    def headers(self, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
        """webhook-id, webhook-timestamp and webhook-signature of one try. `at` is in UTC."""
        text = body.decode()
        signatures = (webhook.sign(message_id, at, text) for webhook in self._webhooks)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signatures),
        }


def load_signer(path: Path) -> Signer:
    """A signer with the secrets in a file, one whsec_... a line, the newest first.

    Raises Fatal, whose message never shows a secret.
    """
    try:
        lines = path.read_text().split()
    except (OSError, UnicodeDecodeError) as exc:
        raise Fatal(f"cannot read webhook secret file {path}: {type(exc).__name__}") from None
    if not lines:
        raise Fatal(f"webhook secret file {path} is empty; expected a line {PREFIX}<base64 of 24 to 64 random bytes>")
    for number, line in enumerate(lines, 1):
        if not _is_secret(line):
            raise Fatal(
                f"webhook secret file {path}: secret {number} must be {PREFIX}<base64 of "
                f"{SECRET_BYTES.start} to {SECRET_BYTES.stop - 1} random bytes>"
            )
    return Signer(lines)


def _is_secret(text: str) -> bool:
    if not text.startswith(PREFIX):
        return False
    encoded = text.removeprefix(PREFIX)
    try:
        return len(base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)) in SECRET_BYTES
    except binascii.Error:
        return False
