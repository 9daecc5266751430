"""One picture of a caller: fetch it, decode it in a child, store it as frames of ours."""

import logging
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ops.crash_points import reached
from ops.media import chunk_file, credentials
from ops.media.decoding import NotDecodable, decode
from ops.net.addresses import Refused
from ops.net.download import NoFile
from ops.net.fetching import fetch
from ops.net.sources import S3Object, Sources, check_source
from ops.storage.store import Store
from ops.storage.transfer import disk_errors
from schemas.ids import credentials_object_key, input_object_key
from schemas.plan import ShotInput
from stream_processors.intake import core

log = logging.getLogger(__name__)

Presign = Callable[[S3Object], str]


class Pictures:
    """Makes inputs. presign: a short-lived https address of an object in an allowed bucket."""

    def __init__(self, store: Store, sources: Sources, presign: Presign, scratch: Path) -> None:
        self._store, self._sources, self._presign, self._scratch = store, sources, presign, scratch

    def take(self, picture: core.Wanted, tenant: str, shape: core.Shape) -> ShotInput:
        """The input, in the store when this returns. A file whose hash the caller gave and that is there already is not
        fetched again.

        Raises JobRejected when the file or its address is the caller's fault, NoAnswer when another try may bring it,
        Transient when the store gives no answer.
        """
        known = picture.media.sha256
        if known is not None and self._there(tenant, shape.name(known)):
            return self._input(picture, tenant, shape.name(known))
        with disk_errors("intake scratch"), TemporaryDirectory(prefix="intake-", dir=self._scratch) as folder:
            file = Path(folder, "file")
            found = self._fetch(picture, tenant, file)
            reached(core.SOURCE, "fetched")
            if known is not None and found != known:
                raise core.wrong_hash(picture, found)
            name = shape.name(found)
            if not self._there(tenant, name):
                self._keep_credentials(picture, file, credentials_object_key(tenant, name))
                self._make(picture, file, shape, input_object_key(tenant, name))
        return self._input(picture, tenant, name)

    def _input(self, picture: core.Wanted, tenant: str, name: str) -> ShotInput:
        """What is in the store. Credentials are put before frames, so where frames are they are complete."""
        kept = self._store.head(credentials_object_key(tenant, name))
        return ShotInput(picture.shot, name, kept.sha256 if kept is not None else "")

    def _there(self, tenant: str, name: str) -> bool:
        return self._store.head(input_object_key(tenant, name)) is not None

    def _fetch(self, picture: core.Wanted, tenant: str, file: Path) -> str:
        try:
            target = check_source(picture.media.uri, tenant, self._sources)
            if isinstance(target, S3Object):
                return fetch(self._presign(target), file, operators=True)
            return fetch(picture.media.uri, file, allow_private=self._sources.allow_private)
        except Refused as exc:
            raise core.refused_address(picture, str(exc)) from None
        except NoFile as exc:
            raise core.wrong_file(picture, str(exc)) from None

    def _keep_credentials(self, picture: core.Wanted, file: Path, key: str) -> None:
        """Whatever is wrong with them, the picture is the caller's and is used: who looks for them finds none."""
        try:
            found = credentials.ingredient(file)
        except credentials.NotKept as exc:
            log.warning("%s: content credentials are not carried over: they %s", picture.field, exc)
            return
        if found:
            self._store.put(key, found, credentials.CONTENT_TYPE)
            reached(core.SOURCE, "credentials-put")

    def _make(self, picture: core.Wanted, file: Path, shape: core.Shape, key: str) -> None:
        try:
            decoded = decode(file, shape.width_px, shape.height_px)
        except NotDecodable as exc:
            raise core.wrong_file(picture, str(exc)) from None
        reached(core.SOURCE, "decoded")
        still = np.frombuffer(decoded.rgb, np.uint8).reshape(1, shape.height_px, shape.width_px, 3)
        made = file.with_name("frames.mkv")
        codec: chunk_file.ChunkCodec = "ffv1" if shape.codec == "ffv1" else "h264"
        chunk_file.encode(np.repeat(still, shape.frames, axis=0), shape.fps, codec, made)
        self._store.put(key, made, chunk_file.CONTENT_TYPE)
        reached(core.SOURCE, "input-put")
