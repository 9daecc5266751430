"""The five requests of Confluent's schema registry API that are needed, with its errors in our taxonomy.

Spoken by Confluent Schema Registry, Karapace, Redpanda and Apicurio (its path ends in `/apis/ccompat/v7`).
"""

import json
import logging
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ops.settings import SettingsError, read_properties
from schemas.errors import Fatal, PipelineError, Transient

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 2.0, 5.0
FIRST_WAIT_S, LAST_WAIT_S = 0.2, 5.0
QUICK_TRIES = 2
"""Tries while a record waits: a stage that stands still for long is worse than one that says why and comes again."""
MAX_ANSWER_BYTES = 2 * 1024 * 1024
NO_SUBJECT, NO_VERSION, NO_SCHEMA = 40401, 40402, 40403
BUSY = (429, 500, 502, 503, 504)


class NotRegistered(PipelineError):
    """The registry knows no such subject, version or schema; it said so itself, in its own words."""


class Incompatible(Fatal):
    """The registry refuses a schema: it breaks the rule that is set for its subject."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens the registry; all empty: nothing is needed. Never printed."""

    username: str = ""
    password: str = ""
    token: str = ""
    """Bearer token."""
    ca_file: str = ""
    """Certificates (PEM) to trust instead of the system's."""
    cert_file: str = ""
    """Client certificate (PEM), with key_file."""
    key_file: str = ""

    def __repr__(self) -> str:
        return "Credentials(...)"


def read_credentials(file: str) -> Credentials:
    """key=value lines. Raises SettingsError that names what is wrong, never a value."""
    if not file:
        return Credentials()
    given = read_properties(Path(file))
    unknown = sorted(given.keys() - set(Credentials.__slots__))
    if unknown:
        raise SettingsError(f"{file}: unknown key {unknown[0]}; known are {', '.join(Credentials.__slots__)}")
    found = Credentials(**given)
    if found.token and found.username:
        raise SettingsError(f"{file}: has token and username; one of them says who we are")
    if bool(found.username) != bool(found.password):
        raise SettingsError(f"{file}: username and password go together")
    if bool(found.cert_file) != bool(found.key_file):
        raise SettingsError(f"{file}: cert_file and key_file go together")
    return found


def checked_url(url: str) -> str:
    """The URL without a slash at its end. Raises SettingsError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"schema_registry is {url!r}; expected http://host[:port][/path] or https://...")
    if parts.username is not None or parts.password is not None:
        raise SettingsError("schema_registry has a user or password in it; they belong into schema_registry_auth_file")
    if parts.query or parts.fragment:
        raise SettingsError(f"schema_registry is {url!r}; expected a URL without ? and #")
    return url.rstrip("/")


class Rest:
    """One registry. Every method raises Transient when it is out of reach or busy, after some tries, NotRegistered when
    it knows nothing of the kind, Fatal when it refuses us or what answers is no schema registry."""

    def __init__(self, url: str, credentials: Credentials = Credentials()) -> None:
        import httpx  # part of an extra; this module is imported without it

        self.url = checked_url(url)
        self.give_up_s = 0.0
        """Moment (monotonic) until which it is tried again; before it, QUICK_TRIES does not count."""
        headers = {"accept": f"{MEDIA_TYPE}, application/json;q=0.5"}
        if credentials.token:
            headers["authorization"] = f"Bearer {credentials.token}"
        self._http = httpx.Client(
            headers=headers,
            auth=(credentials.username, credentials.password) if credentials.username else None,
            verify=_tls(credentials),
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def schema(self, schema_id: int) -> dict[str, Any]:
        """What is registered under an id: `schema` (text), and unless it is Avro, `schemaType`; maybe `references`."""
        return self._call("GET", f"/schemas/ids/{schema_id}")

    def id_of(self, subject: str, schema: str) -> int:
        """Id of a schema (text) within a subject."""
        answer = self._call("POST", f"/subjects/{quote(subject, safe='')}", {"schema": schema, "schemaType": "AVRO"})
        return _id(answer, self.url)

    def register(self, subject: str, schema: str) -> int:
        """Make a schema (text) the newest version of a subject, if it is not in there already; its id.

        Raises Incompatible when it breaks the subject's rule.
        """
        path = f"/subjects/{quote(subject, safe='')}/versions"
        return _id(self._call("POST", path, {"schema": schema, "schemaType": "AVRO"}), self.url)

    def set_compatibility(self, subject: str, rule: str) -> None:
        """Set the rule, e.g. FULL_TRANSITIVE, that new versions of a subject must keep."""
        self._call("PUT", f"/config/{quote(subject, safe='')}", {"compatibility": rule})

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        wait_s, tries = FIRST_WAIT_S, 1
        while True:
            try:
                return self._try(method, path, body)
            except Transient as exc:
                if tries >= QUICK_TRIES and time.monotonic() + wait_s > self.give_up_s:
                    raise
                log.warning("%s; trying again in %.1f s", exc, wait_s)
            time.sleep(wait_s)
            wait_s, tries = min(2 * wait_s, LAST_WAIT_S), tries + 1

    def _try(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        import httpx

        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"content-type": MEDIA_TYPE}
        try:
            with self._http.stream(method, self.url + path, content=content, headers=headers) as answer:
                raw = bytearray()
                for part in answer.iter_bytes():
                    raw += part
                    if len(raw) > MAX_ANSWER_BYTES:
                        raise Fatal(f"schema registry {self.url} answers with more than {MAX_ANSWER_BYTES} bytes")
                return self._understood(answer.status_code, bytes(raw), path)
        except (httpx.TransportError, httpx.DecodingError) as exc:
            why = str(exc) or type(exc).__name__
            raise Transient(f"schema registry {self.url} is out of reach: {why}") from None

    def _understood(self, status: int, raw: bytes, path: str) -> dict[str, Any]:
        try:
            answer = json.loads(raw)
        except (ValueError, RecursionError):
            answer = None
        plain: dict[str, Any] = answer if isinstance(answer, dict) else {}
        if status == 200 and plain:
            return plain
        said = f"{self.url}{path} answers {status}"
        code, message = plain.get("error_code"), str(plain.get("message", ""))[:500]
        if status in BUSY:
            raise Transient(f"{said}: {message or 'busy'}")
        if status == 404 and code in (NO_SUBJECT, NO_VERSION, NO_SCHEMA):
            raise NotRegistered(f"{said}: {message}")
        if status == 409:
            raise Incompatible(f"{said}: {message}")
        if status in (401, 403):
            raise Fatal(f"{said}: who we are does not open it; see the setting schema_registry_auth_file")
        if not message:
            message = "that is no schema registry's answer; is the path right? (Apicurio's is /apis/ccompat/v7)"
        raise Fatal(f"{said}: {message}")


def _id(answer: dict[str, Any], url: str) -> int:
    found = answer.get("id")
    if not isinstance(found, int) or not 0 <= found < 2**31:
        raise Fatal(f"schema registry {url} gives the id {found!r}; expected a number from 0 to 2147483647")
    return found


def _tls(credentials: Credentials) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=credentials.ca_file or None)
        if credentials.cert_file:
            context.load_cert_chain(credentials.cert_file, credentials.key_file)
    except (OSError, ssl.SSLError) as exc:
        raise SettingsError(
            f"schema_registry_auth_file: ca_file, cert_file or key_file cannot be used: {exc}"
        ) from None
    return context
