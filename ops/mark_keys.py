"""Reads the file of the invisible mark's master keys."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ops.settings import PREFIX, SettingsError
from schemas.errors import Fatal
from schemas.mark_keys import MasterKey, parse

SETTING = f"{PREFIX}MARK_KEY_FILE"
_MOST_BYTES = 64 * 1024
_FOR_ALL = stat.S_IROTH | stat.S_IWOTH


class TenantMarkKey(NamedTuple):
    """What one tenant's videos are marked with under one master key."""

    tenant: str
    key_id: str
    """Of the master key."""
    key: bytes


def load(path: Path | str) -> tuple[MasterKey, ...]:
    """The master keys; the first is the one to mark with. Raises SettingsError that never shows a key."""
    where = f"{SETTING} ({path})"
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(_MOST_BYTES + 1)
    except OSError as exc:
        raise SettingsError(f"{where}: cannot be read: {exc.strerror}; expected a file of keys, mode 0600") from None
    if mode & _FOR_ALL:
        raise SettingsError(f"{where}: everybody may read or write it (mode {mode & 0o777:04o}); chmod o-rwx {path}")
    if len(raw) > _MOST_BYTES:
        raise SettingsError(f"{where}: larger than {_MOST_BYTES >> 10} KiB; expected keys in hexadecimal, one a line")
    try:
        return parse(raw.decode("ascii"), where)
    except Fatal as exc:
        raise SettingsError(str(exc)) from None
    except UnicodeDecodeError:
        raise SettingsError(f"{where}: is not text; expected keys in hexadecimal, one a line") from None


def of_tenants(masters: Iterable[MasterKey], tenants: Iterable[str]) -> Iterator[TenantMarkKey]:
    """Every tenant's key under every master key; those of the first master key first."""
    names = list(tenants)
    for master in masters:
        for tenant in names:
            yield TenantMarkKey(tenant, master.id, master.of(tenant))
