"""Puts the signed C2PA manifest into finished files. The last thing that changes a byte: encode, tag, sign.

Memory is bounded: c2pa hashes in pieces of up to 256 MiB unless the media data is signed as a Merkle tree, so large
files are; it copies in memory unless told where to stop. Small files are signed in one piece, which every validator
reads alike (docs/how-to/sign-videos.md).
"""

import io
import json
import logging
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import c2pa

from ops.bus.pulse import beat
from ops.media.credentials import CONTENT_TYPE, PURPOSES
from ops.media.opening import TINY_PNG
from ops.settings import PREFIX, Settings
from schemas.errors import Fatal, Transient
from schemas.plan import Plan
from stream_processors.mux.carried import Carried
from stream_processors.mux.chain import Chain
from stream_processors.mux.core import UNSIGNED, SignedBy
from stream_processors.mux.manifest import Json, carried_input, manifest
from stream_processors.mux.signers import Signer, load_signer

log = logging.getLogger(__name__)

ONE_PIECE_BYTES = 64 << 20
_LEAF_KIB = 2 * 1024
_COPIED_IN_MEMORY_MIB = 4
_SETTINGS: Json = {
    # Nothing is fetched: works offline, and no file decides whom we call.
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
    "trust": {"trust_config": "\n".join(PURPOSES)},
    "core": {"backing_store_memory_threshold_in_mb": _COPIED_IN_MEMORY_MIB},
    # As shipped, bytes of padding boxes could be changed and nobody would know.
    "builder": {"thumbnail": {"enabled": False}, "bmff_hash_exclude_free_and_skip_boxes": False},
}
_TREE = {**_SETTINGS, "core": {**_SETTINGS["core"], "merkle_tree_chunk_size_in_kb": _LEAF_KIB}}
_RENEW_DAYS = 30
"""A certificate with fewer days left is named in the log."""
_SOUND = ("Valid", "Trusted")
_NEEDS = "see docs/how-to/sign-videos.md for what a certificate needs"
_EMPTY = "http://c2pa.org/digitalsourcetype/empty"


class _Beating:
    """A file that tells the watchdog of every piece: a long video takes c2pa a while."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.flush = file.seek, file.tell, file.flush

    def read(self, size: int = -1) -> bytes:
        beat()
        return self._file.read(size)

    def write(self, data: bytes) -> int:
        beat()
        return self._file.write(data)


class _NotTaken(Transient):
    """c2pa does not sign, or does not accept what it signed; not the key's doing where that is known."""


class Seal:
    """Signs files of one installation.

    version: of reelbus
    prompts: write prompts into the files
    now_ms:  wall clock, ms since the epoch
    keyed:   the invisible mark is made with tenants' keys
    """

    def __init__(
        self, signer: Signer, version: str, now_ms: Callable[[], int], *, prompts: bool = False, keyed: bool = False
    ) -> None:
        self.signer, self._version, self._now_ms, self._prompts, self._keyed = signer, version, now_ms, prompts, keyed
        self._one_piece = c2pa.Context(settings=c2pa.Settings.from_dict(_SETTINGS))
        self._tree = c2pa.Context(settings=c2pa.Settings.from_dict(_TREE))

    def put(self, path: Path, content_type: str, plan: Plan, carried: Carried | None = None) -> None:
        """Sign the file in place and read the signature back.

        carried: credentials of the plan's pictures. They are foreign: where c2pa does not take what they make of the
                 manifest, the file is signed without them.
        Raises Transient when the key or the disk is out of reach, or what it signs is not good; Fatal when the
        certificate has expired.
        """
        now_ms = self._now_ms()
        self.signer.chain.check_time(now_ms)
        if carried:
            try:
                self._put(path, content_type, plan, now_ms, carried)
                return
            except _NotTaken as exc:
                log.warning("mux: %s: signed without its pictures' credentials: %s", plan.job, exc)
        self._put(path, content_type, plan, now_ms, {})

    def _put(self, path: Path, content_type: str, plan: Plan, now_ms: int, carried: Carried) -> None:
        said = manifest(
            plan, content_type, self._version, now_ms, prompts=self._prompts, carried=carried, keyed=self._keyed
        )
        foreign = [(carried_input(each), carried[each.shot]) for each in plan.inputs if each.shot in carried]
        context = self._tree if path.stat().st_size > ONE_PIECE_BYTES else self._one_piece
        signed = path.with_name(path.name + ".signed")
        with path.open("rb") as source, signed.open("w+b") as target:
            self._sign(_Beating(source), _Beating(target), content_type, said, context, foreign)
        signed.replace(path)

    @property
    def signs_as(self) -> SignedBy:
        """What its files are signed with."""
        return SignedBy(self.signer.chain.sha256, self.signer.chain.name)

    def try_key(self) -> None:
        """Sign a picture of our own: a wrong key or certificate stops the stage at its start. Raises Fatal."""
        self.signer.chain.check_time(self._now_ms())
        action = {"action": "c2pa.created", "digitalSourceType": _EMPTY}
        said = {"assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}, "created": True}]}
        try:
            self._sign(io.BytesIO(TINY_PNG), io.BytesIO(), "image/png", said, self._one_piece)
        except Transient as exc:
            raise Fatal(f"{self.signer.chain.where}: signing does not work: {exc}; {_NEEDS}") from None

    def _sign(
        self,
        source: "_File",
        target: "_File",
        content_type: str,
        definition: Json,
        context: c2pa.Context,
        foreign: Sequence[tuple[Json, bytes]] = (),
    ) -> None:
        try:
            with self.signer.native() as signer:
                builder = c2pa.Builder(json.dumps(definition), context=context)
                for each, credentials in foreign:
                    builder.add_ingredient_from_stream(json.dumps(each), CONTENT_TYPE, io.BytesIO(credentials))
                builder.sign(signer, content_type, source, target)
            target.seek(0)
            with c2pa.Reader(content_type, target, context=context) as reader:
                found = json.loads(reader.json())
        except c2pa.C2paError as exc:
            raise _NotTaken(f"content credentials: {ascii(str(exc)[:300])[1:-1]}") from None
        if found.get("validation_state") not in _SOUND:
            # Not Fatal: a key that was changed at the service may be put right there, and one odd file is no reason to
            # stop for all.
            codes = ", ".join(sorted({each["code"] for each in found.get("validation_status", ())}))
            raise _NotTaken(f"what {self.signer.chain.name!r} signs is not accepted ({codes})")


def now_ms() -> int:
    """This machine's clock, ms since the epoch."""
    return time.time_ns() // 1_000_000


def open_seal(settings: Settings) -> Seal | None:
    """What signs this installation's files, tried once; None when they are not to be signed. Raises Fatal."""
    signer = load_signer(settings)
    if signer is None:
        log.warning("mux: %sSIGNING=off: files are published without content credentials", PREFIX)
        return None
    seal = Seal(
        signer, version("reelbus"), now_ms, prompts=settings.signing_prompts, keyed=bool(settings.mark_key_file)
    )
    seal.try_key()
    chain = signer.chain
    log.info("mux: signs as %r, %s, until %s", chain.name, chain.algorithm, chain.not_after)
    if chain.days_left(now_ms()) < _RENEW_DAYS:
        log.warning("mux: %s: renew the certificate of %r before %s", chain.where, chain.name, chain.not_after)
    return seal


def read_signer(path: Path, content_type: str, chain: Chain | None) -> SignedBy:
    """Who signed a file of this installation.

    chain: certificates of the key that it has now. Of a file that was signed with another one the name is told, and no
           hash: that is not in what c2pa says.
    Raises Transient when its credentials cannot be read.
    """
    context = c2pa.Context(settings=c2pa.Settings.from_dict(_SETTINGS))
    try:
        with path.open("rb") as file, c2pa.Reader(content_type, _Beating(file), context=context) as reader:
            found = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return UNSIGNED
    except c2pa.C2paError as exc:
        raise Transient(f"content credentials of what is published: {ascii(str(exc)[:300])[1:-1]}") from None
    said = found["manifests"][found["active_manifest"]]["signature_info"]
    name = str(said.get("common_name", ""))
    ours = chain is not None and (str(chain.serial), chain.name) == (said.get("cert_serial_number"), name)
    return SignedBy(chain.sha256 if ours and chain is not None else "", name)


_File = _Beating | io.BytesIO
