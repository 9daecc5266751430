"""The certificates that a signature comes with, checked before anything is signed."""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import NameOID

from schemas.errors import Fatal

EXPECTED = "PEM, the signer's own certificate first, then those that vouch for it"
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_MIN_RSA_BITS = 2048


def algorithm_of(key: PublicKeyTypes) -> str | None:
    """C2PA's name of the algorithm that a key signs with; None when C2PA has none for it."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    return "ps256" if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _MIN_RSA_BITS else None


@dataclass(frozen=True, slots=True)
class Chain:
    """Certificates, the signer's own first.

    where:     the setting and file that they came from, for messages
    algorithm: es256, es384, es512, ps256, ps384, ps512 or ed25519
    """

    where: str
    pem: str
    algorithm: str
    name: str
    """Common name of the signer."""
    public_key: bytes
    """DER (SubjectPublicKeyInfo) of the key that must have signed."""
    sha256: str
    """Of the signer's certificate, hex: what it is called in the audit trail."""
    serial: int
    """Number of that certificate with its issuer."""
    not_before: datetime
    not_after: datetime

    def days_left(self, now_ms: int) -> float:
        """Until the signer's certificate expires; negative when it has."""
        return (self.not_after - datetime.fromtimestamp(now_ms / 1000, UTC)).total_seconds() / 86400

    def check_time(self, now_ms: int) -> None:
        """Raise Fatal unless the signer's certificate is valid now."""
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        if now > self.not_after:
            raise Fatal(
                f"{self.where}: the certificate of {self.name!r} expired on {self.not_after:%Y-%m-%d}: renew it"
            )
        if now < self.not_before:
            raise Fatal(
                f"{self.where}: the certificate of {self.name!r} is valid from {self.not_before:%Y-%m-%d %H:%M} UTC on,"
                f" and this machine's clock says {now:%Y-%m-%d %H:%M}"
            )


def parse_chain(pem: bytes, where: str) -> Chain:
    """Raises Fatal that names what is wrong and what would be right."""
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise Fatal(f"{where}: holds no certificates that can be read; expected {EXPECTED}") from None
    for one, above in pairwise(certificates):
        if one.issuer != above.subject:
            raise Fatal(f"{where}: {_name(above)!r} does not vouch for {_name(one)!r} before it; expected {EXPECTED}")
    leaf = certificates[0]
    algorithm = algorithm_of(leaf.public_key())
    if algorithm is None:
        raise Fatal(
            f"{where}: the key of {_name(leaf)!r} is of a kind that C2PA does not take;"
            f" expected P-256, P-384, P-521, Ed25519 or RSA with at least {_MIN_RSA_BITS} bits"
        )
    spki = leaf.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    text = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates).decode()
    return Chain(
        where=where,
        pem=text,
        algorithm=algorithm,
        name=_name(leaf),
        public_key=spki,
        sha256=leaf.fingerprint(hashes.SHA256()).hex(),
        serial=leaf.serial_number,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
    )


def _name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()
