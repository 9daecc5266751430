"""librdkafka's security properties in Faust's words: followed, or refused by name."""

import logging
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ops.bus.faust_security import credentials
from schemas.errors import Fatal


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A self-signed certificate and its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(cert), str(key)


def test_plain_text_needs_nothing() -> None:
    assert credentials({}) is None
    assert credentials({"security.protocol": "PLAINTEXT"}) is None


@pytest.mark.parametrize("name", ["sasl.mechanism", "sasl.mechanisms"])
def test_sasl(name: str) -> None:
    given = {"security.protocol": "sasl_plaintext", name: "scram-sha-256", "sasl.username": "u", "sasl.password": "p"}
    made: Any = credentials(given)
    assert (made.protocol.value, made.mechanism.value) == ("SASL_PLAINTEXT", "SCRAM-SHA-256")
    assert (made.username, made.password) == ("u", "p")


def test_tls_verifies_the_broker(certificate: tuple[str, str]) -> None:
    cert, key = certificate
    given = {"ssl.ca.location": cert, "ssl.certificate.location": cert, "ssl.key.location": key}
    tls: Any = credentials({"security.protocol": "SSL", **given})
    assert tls.context.verify_mode == ssl.CERT_REQUIRED
    assert tls.context.check_hostname
    assert [authority["serialNumber"] for authority in tls.context.get_ca_certs()]
    sasl = {"sasl.mechanism": "PLAIN", "sasl.username": "u", "sasl.password": "p"}
    both: Any = credentials({"security.protocol": "SASL_SSL", **sasl, **given})
    assert both.protocol.value == "SASL_SSL"
    assert both.ssl_context.check_hostname


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"security.protocol": "tls"}, "security.protocol=tls"),
        ({"security.protocol": "sasl_ssl", "sasl.mechanism": "GSSAPI"}, "sasl.mechanism=GSSAPI"),
        ({"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN", "sasl.password": "p"}, "sasl.username"),
        ({"enable.ssl.certificate.verification": "false"}, "enable.ssl.certificate.verification"),
        ({"sasl.oauthbearer.config": "x"}, "sasl.oauthbearer.config"),
        ({"security.protocol": "ssl", "ssl.ca.location": "/nowhere/ca.pem"}, "cannot read the certificates"),
        ({"security.protocol": "ssl", "ssl.key.location": "k"}, "ssl.certificate.location"),
    ],
)
def test_what_cannot_be_followed_stops_the_stage(given: dict[str, str], fault: str) -> None:
    with pytest.raises(Fatal, match=fault):
        credentials(given)


def test_tuning_is_named_and_left_to_the_other_stages(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert credentials({"linger.ms": "5", "fetch.min.bytes": "1"}) is None
    assert [r.message for r in caplog.records] == [
        "Kafka property fetch.min.bytes, linger.ms: applies to the confluent-kafka stages only"
    ]
