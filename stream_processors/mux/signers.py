"""Who signs: a key in a file, or a command that asks a key service or a security module, so that no worker has the key.

The command speaks c2patool's protocol of subprocess signers, so that what was written for the one serves the other:
`COMMAND --signer-info` prints {"alg": ..., "sign_cert": PEM, "tsa_url": ...}; `COMMAND` signs what comes on its
standard input and writes the signature to its standard output.
"""

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import c2pa
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from ops.settings import PREFIX, Settings
from schemas.errors import Fatal, Transient
from stream_processors.mux import development_key
from stream_processors.mux.chain import Chain, parse_chain

COMMAND_TIMEOUT_S = 20.0
KEY_FILE, CERTIFICATES_FILE = f"{PREFIX}SIGNING_KEY_FILE", f"{PREFIX}SIGNING_CERTIFICATES_FILE"
COMMAND = f"{PREFIX}SIGNING_COMMAND"
_ALGORITHMS = {each.name.lower(): each for each in c2pa.C2paSigningAlg}
_ECDSA_BYTES = {"es256": 32, "es384": 48, "es512": 66}
_SAID_CHARS = 200


class Signer(Protocol):
    """Signs manifests with the key of `chain`."""

    @property
    def chain(self) -> Chain: ...

    def native(self) -> AbstractContextManager[c2pa.Signer]:
        """c2pa's signer for one signature. Leaving the block raises Transient when the key could not be asked."""


class FileSigner:
    """A private key in this process."""

    def __init__(self, chain: Chain, key_pem: bytes, tsa_url: str) -> None:
        self.chain = chain
        self._key_pem, self._tsa_url = key_pem, tsa_url or None

    @contextmanager
    def native(self) -> Iterator[c2pa.Signer]:
        info = c2pa.C2paSignerInfo(
            alg=self.chain.algorithm.encode(),
            sign_cert=self.chain.pem.encode(),
            private_key=self._key_pem,
            ta_url=self._tsa_url.encode() if self._tsa_url else None,
        )
        with c2pa.Signer.from_info(info) as signer:
            yield signer


class _SignerInfo(msgspec.Struct):
    alg: str
    sign_cert: str
    tsa_url: str | None = None


class CommandSigner:
    """A command that has, or reaches, the key."""

    def __init__(self, command: str, tsa_url: str) -> None:
        """Asks the command for its certificates. Raises Fatal when it gives none."""
        try:
            self._command = shlex.split(command)
        except ValueError as exc:
            raise Fatal(f"{COMMAND}: cannot be split into words ({exc}); quote it as for a shell") from None
        try:
            said = msgspec.json.decode(self._run(["--signer-info"], b""), type=_SignerInfo)
        except Transient as exc:
            raise Fatal(f"{COMMAND}: {exc}") from None
        except msgspec.DecodeError as exc:
            raise Fatal(f'{COMMAND}: --signer-info must print {{"alg": ..., "sign_cert": PEM}}: {exc}') from None
        self.chain = parse_chain(said.sign_cert.encode(), f"{COMMAND} --signer-info, sign_cert")
        if said.alg.lower() != self.chain.algorithm and not _both_rsa(said.alg, self.chain.algorithm):
            raise Fatal(f"{COMMAND}: alg is {said.alg!r}, and the certificate's key is for {self.chain.algorithm}")
        self._algorithm = said.alg.lower()
        self._tsa_url = tsa_url or said.tsa_url or None

    @contextmanager
    def native(self) -> Iterator[c2pa.Signer]:
        problems: list[Transient] = []

        def sign(data: bytes) -> bytes:
            try:
                return _raw(self._run([], data), self._algorithm)
            except Transient as exc:
                problems.append(exc)
                raise

        try:
            algorithm = _ALGORITHMS[self._algorithm]
            with c2pa.Signer.from_callback(sign, algorithm, self.chain.pem, self._tsa_url) as signer:
                yield signer
        except c2pa.C2paError:
            if problems:
                raise problems[0] from None
            raise

    def _run(self, arguments: list[str], data: bytes) -> bytes:
        try:
            done = subprocess.run(
                [*self._command, *arguments], input=data, capture_output=True, timeout=COMMAND_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            raise Transient(f"the signing command gave no answer within {COMMAND_TIMEOUT_S:g} s") from None
        except OSError as exc:
            raise Transient(f"the signing command cannot be started: {exc.strerror}") from None
        if done.returncode or not done.stdout:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["nothing on its standard error"]
            said = ascii(last[0][:_SAID_CHARS])[1:-1]
            raise Transient(f"the signing command ended with status {done.returncode}: {said}")
        return done.stdout


def _both_rsa(said: str, found: str) -> bool:
    return found == "ps256" and said.lower() in ("ps256", "ps384", "ps512")


def _raw(signature: bytes, algorithm: str) -> bytes:
    """ECDSA signatures as C2PA wants them, r and s side by side; key services and openssl give DER."""
    size = _ECDSA_BYTES.get(algorithm)
    if size is None or len(signature) == 2 * size:
        return signature
    try:
        r, s = decode_dss_signature(signature)
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    except (ValueError, OverflowError):
        raise Transient(
            f"the signing command wrote {len(signature)} bytes that are no {algorithm} signature;"
            f" expected {2 * size} bytes or DER"
        ) from None


def load_signer(settings: Settings) -> Signer | None:
    """The signer that the settings name; None when they say `off`. Raises Fatal that names the setting at fault."""
    if settings.signing == "off":
        return None
    given = bool(settings.signing_key_file), bool(settings.signing_certificates_file)
    if settings.signing_command:
        if any(given):
            raise Fatal(f"{COMMAND} and {KEY_FILE} are both set: give the one that has the key")
        return CommandSigner(settings.signing_command, settings.signing_tsa_url)
    if any(given) and not all(given):
        missing = CERTIFICATES_FILE if given[0] else KEY_FILE
        raise Fatal(f"{missing} is empty: a key and its certificates go together")
    if not any(given):
        key, certificates = development_key.files(settings.development_root.parent)
    else:
        key, certificates = Path(settings.signing_key_file), Path(settings.signing_certificates_file)
    chain = parse_chain(_read(certificates, CERTIFICATES_FILE), f"{CERTIFICATES_FILE} ({certificates})")
    return FileSigner(chain, _key(key, chain), settings.signing_tsa_url)


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise Fatal(f"{setting}: cannot read {path}: {exc.strerror}; expected a PEM file that mux may read") from None


def _key(path: Path, chain: Chain) -> bytes:
    """The private key as PKCS#8, which c2pa wants. Messages never show any of it."""
    where = f"{KEY_FILE} ({path})"
    try:
        key = serialization.load_pem_private_key(_read(path, KEY_FILE), None)
    except TypeError:
        raise Fatal(f"{where}: is encrypted; expected a plain PEM key, mode 0600, or use {COMMAND}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise Fatal(f"{where}: holds no private key that can be read; expected PEM, PKCS#8") from None
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if public != chain.public_key:
        raise Fatal(f"{where}: is not the key of {chain.name!r}, the first certificate of {CERTIFICATES_FILE}")
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
