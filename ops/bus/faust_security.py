"""librdkafka's security properties, as Faust understands them."""

import logging
import ssl
from collections.abc import Mapping

import faust
from faust.types.auth import CredentialsT

from schemas.errors import Fatal

log = logging.getLogger(__name__)

_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
_SECURITY = ("sasl.", "ssl.", "enable.ssl", "enable.sasl", "security.")
_ALIASES = {"sasl.mechanism": "sasl.mechanisms"}
_KNOWN = frozenset(
    (
        "security.protocol", "sasl.mechanisms", "sasl.username", "sasl.password", "ssl.ca.location",
        "ssl.certificate.location", "ssl.key.location", "ssl.key.password",
    )
)  # fmt: skip


def credentials(properties: Mapping[str, str]) -> CredentialsT | None:
    """Faust credentials from librdkafka properties; None for plain text.

    Raises Fatal for a security property that Faust cannot follow: going on without it would be less safe than asked
    for. Other properties tune librdkafka and mean nothing here; a warning names them.
    """
    given = {_ALIASES.get(name, name): value for name, value in properties.items()}
    _refuse_unknown(given)
    protocol = given.get("security.protocol", "plaintext").lower()
    if protocol not in _PROTOCOLS:
        raise Fatal(f"Kafka property security.protocol={protocol}: expected one of {', '.join(_PROTOCOLS)}")
    context = _context(given) if protocol in ("ssl", "sasl_ssl") else None
    if protocol.startswith("sasl"):
        mechanism = given.get("sasl.mechanisms", "").upper()
        if mechanism not in _MECHANISMS:
            known = ", ".join(_MECHANISMS)
            raise Fatal(f"Kafka property sasl.mechanism={mechanism}: the Faust stages know {known}")
        for name in ("sasl.username", "sasl.password"):
            if not given.get(name):
                raise Fatal(f"Kafka property {name} is missing; security.protocol={protocol} needs it")
        name, secret = given["sasl.username"], given["sasl.password"]
        return faust.SASLCredentials(username=name, password=secret, mechanism=mechanism, ssl_context=context)
    return faust.SSLCredentials(context=context) if context else None


def _refuse_unknown(given: Mapping[str, str]) -> None:
    others = sorted(given.keys() - _KNOWN)
    unsafe = [name for name in others if name.startswith(_SECURITY)]
    if unsafe:
        raise Fatal(f"Kafka property {', '.join(unsafe)}: the Faust stages cannot follow it")
    if others:
        log.warning("Kafka property %s: applies to the confluent-kafka stages only", ", ".join(others))


def _context(given: Mapping[str, str]) -> ssl.SSLContext:
    """A client context that verifies the broker's certificate and host name, as librdkafka does by default."""
    certificate, key = given.get("ssl.certificate.location"), given.get("ssl.key.location")
    if (certificate is None) != (key is None):
        raise Fatal("Kafka properties ssl.certificate.location and ssl.key.location are given together or not at all")
    try:
        context = ssl.create_default_context(cafile=given.get("ssl.ca.location"))
        if certificate is not None:
            context.load_cert_chain(certificate, key, given.get("ssl.key.password"))
    except OSError as exc:
        raise Fatal(f"Kafka properties ssl.*: cannot read the certificates: {exc}") from None
    return context
