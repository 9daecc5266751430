"""Addresses that lead, or try to lead, where nobody may be led; and good ones. Data, no code.

Names under .example are answered by the trial's own name server (NAMES): a list of lookups, each a list of addresses;
the last one is repeated.
"""

PUBLIC_V4, PUBLIC_V4B, PUBLIC_V6 = "93.184.216.34", "8.8.8.8", "2606:2800:21f::1"

NAMES: dict[str, list[list[str]]] = {
    "good.example": [[PUBLIC_V4]],
    "www.good.example": [[PUBLIC_V4B]],
    "six.example": [[PUBLIC_V6]],
    "both.example": [[PUBLIC_V6, PUBLIC_V4]],
    "xn--mnchen-3ya.example": [[PUBLIC_V4]],
    "rebind.example": [[PUBLIC_V4], ["127.0.0.1"]],
    "rebind6.example": [[PUBLIC_V6], ["::1"]],
    "rebind-metadata.example": [[PUBLIC_V4], ["169.254.169.254"]],
    "loopback.example": [["127.0.0.1"]],
    "private.example": [["10.1.2.3"]],
    "metadata.example": [["169.254.169.254"]],
    "cgnat.example": [["100.64.0.1"]],
    "mapped.example": [["::ffff:10.0.0.1"]],
    "nat64.example": [["64:ff9b::a9fe:a9fe"]],
    "sixtofour.example": [["2002:a9fe:a9fe::1"]],
    "teredo.example": [["2001:0:a9fe:a9fe::1"]],
    "linklocal.example": [["fe80::1"]],
    "unique.example": [["fd00:ec2::254"]],
    "mixed.example": [[PUBLIC_V4, "127.0.0.1"]],
    "mixed6.example": [[PUBLIC_V4, PUBLIC_V6, "::1"]],
    "zero.example": [["0.0.0.0"]],
    "multicast.example": [["224.0.0.1"]],
}

_HOSTS = (
    # this machine, in every spelling that some C library takes
    "127.0.0.1", "127.1", "127.0.1", "0", "0.0.0.0", "2130706433", "0x7f000001", "0x7f.1", "0x7F.0.0.1", "0177.0.0.1",
    "017700000001", "00000000177.0.0.1", "127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "127.255.255.254",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[::1%25lo]",
    "１２７.0.0.1", "127。0。0。1", "%31%32%37.0.0.1", "①②⑦.0.0.1", "ⓛocalhost",
    # clouds' metadata services
    "169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.169.254.",
    "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "[2001:0:a9fe:a9fe::1]", "[fd00:ec2::254]", "[fd20:ce::254]", "[fd00:c1::a9fe:a9fe]", "[fd00:42::42]",
    "100.100.100.200", "168.63.129.16",
    "192.0.0.192", "169.254.170.2", "metadata.example",
    "rebind-metadata.example/to?https://rebind-metadata.example/x",
    # private, shared, link-local, reserved
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255", "192.0.2.1",
    "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255",
    "[fe80::1]", "[fc00::1]", "[ff02::1]", "[2001:db8::1]", "[3fff::1]", "[2606:2800::5efe:127.0.0.1]", "[fec0::1]",
    # names that lead there
    "loopback.example", "private.example", "cgnat.example", "mapped.example", "nat64.example", "sixtofour.example",
    "teredo.example", "linklocal.example", "unique.example", "mixed.example", "mixed6.example", "zero.example",
    "multicast.example",
    # names and passwords, and what one parser reads as a host and another does not
    "good.example@127.0.0.1", "127.0.0.1@good.example", "good.example:443@127.0.0.1", "good.example\\@127.0.0.1",
    "127.0.0.1\\.good.example", "good.example%00.127.0.0.1", "good.example%2f@127.0.0.1",
)  # fmt: skip
_TARGETS = (
    "https://127.0.0.1/", "https://[::1]/", "https://169.254.169.254/latest/meta-data/", "https://10.0.0.1/",
    "https://[::ffff:127.0.0.1]/", "https://[64:ff9b::a9fe:a9fe]/", "https://2130706433/", "https://localhost/",
    "https://loopback.example/", "https://metadata.example/", "https://mixed.example/",
    "http://good.example/picture.png",
    "http://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1:6379/_INFO", "ftp://127.0.0.1/x", "//127.0.0.1/",
    "https://good.example@127.0.0.1/", "https://good.example:22/", "data:image/png;base64,AAAA",
)  # fmt: skip

HOSTILE: tuple[str, ...] = (
    *(f"https://{host}/" if "?" not in host else f"https://{host}" for host in _HOSTS),
    *(f"https://good.example/to?{target}" for target in _TARGETS),
    "https://rebind.example/to?https://rebind.example/picture.png",
    "https://rebind6.example/to?https://rebind6.example/picture.png",
    "http://good.example/picture.png", "gopher://127.0.0.1:6379/_INFO", "file:///etc/passwd",
    "ftp://127.0.0.1/picture.png", "ftps://good.example/x", "dict://127.0.0.1:11211/", "ldap://127.0.0.1/",
    "jar:https://good.example/!/x",
    "tftp://127.0.0.1/x",
    "HTTP://127.0.0.1/", "https:127.0.0.1", "https:///127.0.0.1/", "https:/\\127.0.0.1/", "//127.0.0.1/",
    "127.0.0.1:443",
    "https://good.example:25/", "https://good.example:22/", "https://good.example:0/", "https://good.example:65536/",
    "https://good.example:443:22/", "https://good.example:-1/", "https://good.example:４４３/",
    "https://good.example:6e1/",
    "https://127.0.0.1:8443/", "https://[::1]:8443/", "https://0.0.0.0:8443/", "https://good.example /",
    "https://good.exa\tmple/",
    "https://good.example/\r\nHost: 127.0.0.1", " https://127.0.0.1/", "https://", "https://[", "https://[::1",
    "https://::1/",
)  # fmt: skip

GOOD: tuple[str, ...] = (
    "https://good.example/picture.png", "https://good.example:443/picture.png",
    "https://good.example:8443/picture.png",
    "HTTPS://GOOD.EXAMPLE/picture.png", "https://www.good.example/picture.png", "https://six.example/picture.png",
    "https://six.example:8443/picture.png", "https://both.example/picture.png",
    "https://xn--mnchen-3ya.example/picture.png",
    f"https://{PUBLIC_V4}/picture.png", f"https://{PUBLIC_V4}:8443/picture.png", f"https://{PUBLIC_V4B}/picture.png",
    f"https://[{PUBLIC_V6}]/picture.png", f"https://[{PUBLIC_V6}]:8443/picture.png",
    "https://good.example/picture.png?width=9&token=127.0.0.1", "https://good.example/a/../picture.png?x=@10.0.0.1",
    "https://good.example/to?https://www.good.example/picture.png", "https://good.example/to?/picture.png",
    "https://good.example/to?https://six.example:8443/picture.png", "https://www.good.example/to?picture.png",
    "https://good.example/picture.png#@127.0.0.1",
)  # fmt: skip
