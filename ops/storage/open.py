"""From the settings to a store."""

from pathlib import Path

from ops.settings import Settings, SettingsError
from ops.storage.directory import DirectoryStore
from ops.storage.store import Store, check_key


def open_store(settings: Settings) -> Store:
    """The store that `settings.store` names: a directory (made when missing), or s3://bucket[/prefix].

    Raises SettingsError that names the setting and what would be right.
    """
    scheme, found, rest = settings.store.partition("://")
    if not found:
        if settings.s3_endpoint_url:
            raise SettingsError(f"s3_endpoint_url has no effect on the directory {settings.store!r}: leave it empty")
        if not settings.store:
            raise SettingsError("store is empty: expected a directory or s3://bucket[/prefix]")
        return DirectoryStore(Path(settings.store).expanduser())
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise SettingsError(f"store {settings.store!r}: expected a directory or s3://bucket[/prefix]")
    try:
        prefix = check_key(prefix.rstrip("/")) if prefix else ""
    except ValueError as exc:
        raise SettingsError(f"store {settings.store!r}: prefix: {exc}") from None
    try:
        # boto3 takes long to import, and belongs to an extra.
        from ops.storage.s3 import S3Store
    except ModuleNotFoundError as exc:
        raise SettingsError(f"store {settings.store!r} needs {exc.name}: install reelbus[s3]") from exc
    return S3Store(bucket, prefix, settings.s3_endpoint_url)
