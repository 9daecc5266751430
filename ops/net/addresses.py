"""Which addresses of strangers may be called. Pure: no lookup is made here.

The URL of a webhook or of a picture is written by a stranger, so the server that calls it must not be led into its own
network (server-side request forgery). `ipaddress.is_global` is no guard: Python 3.11 says True for NAT64, 6to4,
::a.b.c.d and 192.0.0.192. So IPv4 has an explicit list, and of IPv6 only global unicast 2000::/3 is allowed at all,
less what is special in it.
Sources: IANA special-purpose address registries (RFC 6890), the clouds' documents on their metadata services.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

MAX_URL_CHARS = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}
LOWEST_HIGH_PORT = 1024

# Opened by `webhook_allow_private` and `input_allow_private`.
_PRIVATE_V4 = tuple(
    IPv4Network(net) for net in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
_PRIVATE_V6 = tuple(IPv6Network(net) for net in ("::1/128", "fc00::/7"))

# Never called.
_METADATA: frozenset[IPv4Address | IPv6Address] = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, GCP, Azure, OpenStack, DigitalOcean, Oracle
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure wire server
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # GCP
        "fd00:c1::a9fe:a9fe",  # Oracle
        "fd00:42::42",  # Scaleway
    )
)
_DENIED_V4 = tuple(
    IPv4Network(net)
    for net in (
        "0.0.0.0/8",  # this network
        "169.254.0.0/16",  # link-local
        "192.0.0.0/24",  # IETF protocols
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_DENIED_V6 = tuple(
    IPv6Network(net)
    for net in (
        "2001::/23",  # IETF protocols: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: carries an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # 6bone, returned
        "3fff::/20",  # documentation
    )
)
# ISATAP (RFC 5214): an interface id of 5efe and an IPv4 address tunnels to that address.
_ISATAP = (0x00005EFE, 0x02005EFE)

_URL = re.compile(r"(?P<scheme>[a-z]+)://(?P<authority>[^/?#]*)(?P<target>[^#]*)(?P<fragment>#.*)?", re.IGNORECASE)
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LOOKS_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)")
_URL_CHARS = re.compile(r"[!-~]*")
_NOT_IN_URLS = frozenset('\\"<>^`{|}')


class Refused(Exception):
    """The address may not be called. The message says why, without the URL, which may hold a token."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in parts, each checked."""

    scheme: str
    host: str
    """A DNS name in lower case, or an IP address as Python writes it, without brackets."""
    port: int
    target: str
    """Path and query, at least "/"."""

    @property
    def host_header(self) -> str:
        """Value of the Host header: brackets around IPv6, the port unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse_url(url: str, max_chars: int = MAX_URL_CHARS) -> Target:
    """Split an http or https URL, strictly: what two parsers could read in two ways is refused.

    Ports: 80, 443 and 1024 upwards, so that mail, SSH and the like are never talked to. Raises Refused.
    """
    if len(url) > max_chars or not _URL_CHARS.fullmatch(url) or _NOT_IN_URLS & set(url):
        raise Refused(f"URL must be at most {max_chars} printable ASCII characters (names in punycode, xn--...)")
    match = _URL.fullmatch(url)
    scheme = match["scheme"].lower() if match else ""
    if match is None or scheme not in DEFAULT_PORTS:
        raise Refused("URL must begin with https:// or http://")
    authority = match["authority"]
    if "@" in authority:
        raise Refused("URL must not contain a user name or password")
    host, port = _host_and_port(authority)
    number = DEFAULT_PORTS[scheme] if port is None else port
    if number not in DEFAULT_PORTS.values() and not LOWEST_HIGH_PORT <= number <= 65535:
        raise Refused(f"port {number} is not allowed; use 80, 443 or {LOWEST_HIGH_PORT} to 65535")
    target = match["target"]
    return Target(scheme, host, number, target if target.startswith("/") else "/" + target)


def _host_and_port(authority: str) -> tuple[str, int | None]:
    if authority.startswith("["):
        inside, closed, rest = authority[1:].partition("]")
        try:
            host = str(IPv6Address(inside))
        except ValueError:
            raise Refused("host is not a valid IPv6 address in brackets") from None
        if not closed or "%" in inside or (rest and not rest.startswith(":")):
            raise Refused("host is not a valid IPv6 address in brackets")
        return host, _port(rest[1:]) if rest else None
    name, colon, port = authority.partition(":")
    return _host(name), _port(port) if colon else None


def _port(text: str) -> int:
    if not (text.isdigit() and len(text) <= 5):
        raise Refused("port must be a number")
    return int(text)


def _host(name: str) -> str:
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise Refused("host is not a valid DNS name or IP address")
    if _LOOKS_NUMERIC.fullmatch(name):
        # 2130706433, 0x7f.1, 0177.0.0.1: C libraries take them for addresses.
        try:
            return str(IPv4Address(name))
        except ValueError:
            raise Refused("an IPv4 address must be four decimal numbers") from None
    return name.lower()


def check_address(address: IPv4Address | IPv6Address, *, allow_private: bool) -> None:
    """Raise Refused unless the address may be called.

    allow_private: also loopback, private and carrier-grade NAT networks; never link-local, metadata services,
                   multicast, or IPv6 forms that carry an IPv4 address.
    """
    kind = _refusal(address, allow_private)
    if kind:
        raise Refused(f"address {address} is {kind}")


def _refusal(address: IPv4Address | IPv6Address, allow_private: bool) -> str:
    if address in _METADATA:
        return "a cloud metadata service"
    if isinstance(address, IPv4Address):
        if any(address in net for net in _PRIVATE_V4):
            return "" if allow_private else "private"
        return "reserved" if any(address in net for net in _DENIED_V4) else ""
    if address.scope_id is not None:
        return "bound to an interface"
    if any(address in net for net in _PRIVATE_V6):
        return "" if allow_private else "private"
    if address not in _GLOBAL_V6:
        return "not global unicast"
    tunnel = (int(address) >> 32) & 0xFFFFFFFF in _ISATAP
    return "reserved" if tunnel or any(address in net for net in _DENIED_V6) else ""
