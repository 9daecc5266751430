"""Reads the key of a service from the file that the policy names. No message shows what is in it."""

import configparser
import re
from pathlib import Path

from schemas.errors import Fatal

# What a header may hold: nothing that would end it, and nothing that would make an HTTP library quote it in an error.
_KEY = re.compile(r"[!-~]{8,512}")


def read_key(file: Path, provider: str) -> str:
    """The key that a file holds alone. Raises Fatal that names the file."""
    key = _text(file, provider).strip()
    if not _KEY.fullmatch(key):
        raise Fatal(
            f"provider {provider}: key_file {file} must hold the key alone: 8 to 512 printable ASCII characters"
        )
    return key


def read_aws_credentials(file: Path, provider: str) -> dict[str, str]:
    """Credentials as arguments of a boto3 session, from a file like ~/.aws/credentials. Raises Fatal that names it."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(_text(file, provider))
        found = {name: value.strip() for name, value in parser.items("default")}
    except configparser.Error:
        found = {}
    wanted = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    given = {name: found[name] for name in wanted if name in found}
    if not all(_is_sound(given.get(name, "")) for name in wanted[:2]) or not _is_sound(
        given.get(wanted[2], "-" * 8), 8192
    ):
        right = "[default] with aws_access_key_id and aws_secret_access_key"
        raise Fatal(f"provider {provider}: key_file {file} must have a section {right}")
    return given


def _is_sound(text: str, longest: int = 512) -> bool:
    return 8 <= len(text) <= longest and text.isascii() and text.isprintable() and " " not in text


def _text(file: Path, provider: str) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise Fatal(f"provider {provider}: cannot read key_file {file}: {type(exc).__name__}") from None
