"""`reelbus tenants keygen` and `reelbus tenants check`."""

import base64
import os
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ops.cli.output import data, say
from schemas.errors import Fatal


class Kind(StrEnum):
    """How a tenant signs."""

    ed25519 = "ed25519"
    hmac = "hmac"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Keys with which tenants prove who they are.", no_args_is_help=True)
    group.command("keygen")(keygen)
    group.command("check")(check)
    app.add_typer(group, name="tenants")


def keygen(
    file: Annotated[Path, typer.Argument(help="File of the tenant's key; its name without ending is the key id.")],
    kind: Annotated[Kind, typer.Option(help="ed25519: the operator holds the public half only.")] = Kind.ed25519,
) -> None:
    """Make a key: the private half into FILE, readable by its owner only; the operator's half on standard output."""
    if kind is Kind.hmac:
        raw = secrets.token_bytes(32)
        line = f'hmac_secret_file = "{file.name}"'
    else:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        private = Ed25519PrivateKey.generate()
        raw = private.private_bytes_raw()
        line = f'ed25519_public = "{base64.b64encode(private.public_key().public_bytes_raw()).decode()}"'
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Fatal(f"{file} exists; a key is never written over") from None
    with os.fdopen(descriptor, "w") as stream:
        stream.write(f"{kind.value}:{base64.b64encode(raw).decode()}\n")
    data(f'[[tenants.<name>.keys]]\nid = "{file.stem}"\n{line}')
    say(f"the key is in {file}; put the lines above into the tenants file")


def check(file: Annotated[Path, typer.Argument(help="Tenants file (TOML).")]) -> None:
    """Read a tenants file as `moderate` would, and say who may send and where answers may go."""
    from ops import tenants as tenants_file
    from ops.settings import load
    from stream_processors.moderate import tenant_keys

    rules = tenant_keys.build(*tenants_file.load(str(file)), load().prefix)
    for name, member in sorted((rules.members or {}).items()):
        data(f"{name}: keys {', '.join(member.keys) or 'none'}; answers on {', '.join(member.reply_topics)}")
    say(
        "signatures are "
        + ("required" if rules.require_signatures else "checked where there are any, and not required")
    )
