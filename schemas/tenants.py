"""The tenants file: who may send, and how they prove it. Pure; `ops.tenants` reads the file."""

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.envelope import KEY_ID_PATTERN
from schemas.errors import Fatal
from schemas.ids import TENANT_PATTERN

REPLY_PATTERN = r"^[a-zA-Z0-9._-]{1,200}(\.\*)?\Z"


class TenantKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One key of a tenant; several are good at once, so that a key can be changed without a gap."""

    id: Annotated[str, Meta(pattern=KEY_ID_PATTERN)]
    """Name of the key within its tenant; the signature header carries it."""
    ed25519_public: str = ""
    """Base64 of the 32 bytes of an Ed25519 public key. This or `hmac_secret_file`."""
    hmac_secret_file: str = ""
    """Key file as `reelbus tenants keygen --kind hmac` writes it: hmac:<base64 of at least 32 random bytes>. Beside the
    tenants file unless absolute."""
    not_after_ms: Annotated[int, Meta(ge=0)] = 0
    """Unix time in ms after which nothing signed with the key is taken; 0: no end."""


class TenantEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    keys: tuple[TenantKey, ...] = ()
    reply_topics: tuple[Annotated[str, Meta(pattern=REPLY_PATTERN)], ...] | None = None
    """Full topic names, or beginnings that end in ".*". Left out: <prefix>.replies.<tenant>.*"""
    may_omit_label: bool = False
    """Signed requests may ask for videos without visible mark (label.profile none). Who looks at them has to be told in
    another way: that is then the tenant's duty."""


class TenantsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    require_signatures: bool = True
    """False only while senders move over: records without a signature are then taken as their payload says."""
    max_age_s: Annotated[int, Meta(ge=1, le=86_400)] = 300
    """How much later than its signature a record may reach the broker."""
    max_clock_skew_s: Annotated[int, Meta(ge=0, le=3600)] = 60
    """How far a sender's clock may be ahead of the broker's."""
    tenants: dict[str, TenantEntry]


def parse(text: str) -> TenantsFile:
    """Tenants file (TOML). Raises Fatal that names the tenant and the fault."""
    try:
        file = msgspec.toml.decode(text, type=TenantsFile)
    except msgspec.DecodeError as exc:
        raise Fatal(f"tenants file: {exc}") from None
    for name, tenant in file.tenants.items():
        if not re.fullmatch(TENANT_PATTERN, name):
            raise Fatal(f'tenants file: tenant "{name}": a name is a-z, 0-9 and -, at most 63 characters')
        _check(name, tenant, file.require_signatures)
    return file


def _check(name: str, tenant: TenantEntry, must_sign: bool) -> None:
    ids = [key.id for key in tenant.keys]
    if must_sign and not ids:
        raise Fatal(f"tenants file: tenant {name} has no key, and require_signatures is true")
    if twice := next((key for key in ids if ids.count(key) > 1), None):
        raise Fatal(f"tenants file: tenant {name} has two keys with the id {twice}")
    for key in tenant.keys:
        if bool(key.ed25519_public) == bool(key.hmac_secret_file):
            raise Fatal(
                f"tenants file: tenant {name}, key {key.id}: give ed25519_public or hmac_secret_file, one of them"
            )
