"""A key of this machine's own, so that `reelbus up` signs without being told how. It proves nothing to others.

Made once under the data directory. The root's private half is thrown away when it has vouched for the one key, so
that nobody can issue more under it.
"""

import os
import secrets
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ops.media.credentials import PURPOSES
from ops.storage.transfer import disk_errors

KEY, CERTIFICATES, ROOT = "key.pem", "certificates.pem", "root.pem"
_VALID = timedelta(days=3650)
_CLOCKS_APART = timedelta(days=1)


def files(folder: Path) -> tuple[Path, Path]:
    """Key and certificates in `folder`, which is made, with them in it, unless it is there."""
    if not (folder / KEY).exists():
        with disk_errors(f"development key in {folder}"):
            _make(folder)
    return folder / KEY, folder / CERTIFICATES


def _make(folder: Path) -> None:
    """All files or none appear; of several processes that make them at the same time, one wins."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}")
    draft.mkdir(mode=0o700)
    try:
        for name, content in issue(datetime.now(UTC)).items():
            mode = 0o600 if name == KEY else 0o644
            with os.fdopen(os.open(draft / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
        draft.rename(folder)
    except OSError:
        if not (folder / KEY).exists():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _name(common: str) -> x509.Name:
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "reelbus development, not to be trusted")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs, key_cert_sign=not signs, crl_sign=not signs, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def issue(now: datetime, valid: timedelta = _VALID, purpose: str = PURPOSES[0]) -> dict[str, bytes]:
    """A new key and its certificates as C2PA wants them, by file name. purpose: extended key usage."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = _name("reelbus development root")

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey, *, signs: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder(root_name, subject, public, x509.random_serial_number())
            .not_valid_before(now - _CLOCKS_APART)
            .not_valid_after(now + valid)
            .add_extension(x509.BasicConstraints(ca=not signs, path_length=None), critical=True)
            .add_extension(_usage(signs=signs), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )

    root = builder(root_name, root_key.public_key(), signs=False).sign(root_key, hashes.SHA256())
    leaf = (
        builder(_name("reelbus development key"), key.public_key(), signs=True)
        .add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose)]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return {
        KEY: key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        CERTIFICATES: leaf.public_bytes(pem),
        ROOT: root.public_bytes(pem),
    }
