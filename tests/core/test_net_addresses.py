"""Which addresses webhooks may go to."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.net.addresses import Refused, Target, check_address, parse_url

# Denied unless private addresses are allowed.
PRIVATE = (
    "127.0.0.1", "127.255.255.254", "127.1.2.3", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255",
    "192.168.0.1", "192.168.255.255", "100.64.0.1", "100.127.255.255", "::1", "fc00::1", "fd12:3456::1",
)  # fmt: skip
# Denied always.
NEVER = (
    "169.254.169.254", "169.254.170.2", "169.254.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.0.8",
    "fd00:ec2::254", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42",
    "0.0.0.0", "0.1.2.3", "192.0.2.1", "198.51.100.7", "203.0.113.9", "198.18.0.1", "198.19.255.255", "192.88.99.1",
    "192.31.196.1", "192.52.193.1", "192.175.48.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::8.8.8.8", "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1",
    "64:ff9b:1::1", "2002:a9fe:a9fe::", "2002:7f00:1::1", "2001::1", "2001:0:a9fe:a9fe::", "2001:2::1", "2001:10::1",
    "2001:20::1", "2001:db8::1", "3fff::1", "3ffe::1", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1", "ff0e::1",
    "100::1", "2620:4f:8000::1", "4000::1", "5f00::1", "2600:1f18::5efe:7f00:1", "2600:1f18::200:5efe:a00:1",
    "::ffff:0:127.0.0.1",
)  # fmt: skip
PUBLIC = (
    "8.8.8.8", "1.1.1.1", "93.184.216.34", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0",
    "169.253.1.1", "192.0.1.1", "198.17.255.255", "198.20.0.0", "223.255.255.255", "11.0.0.0", "9.255.255.255",
    "126.255.255.255", "128.0.0.1", "2606:4700:4700::1111", "2a00:1450:4001::200e", "2001:4860:4860::8888",
    "2620:fe::fe", "2003::1",
)  # fmt: skip


@pytest.mark.parametrize("text", PRIVATE)
def test_private_addresses_only_when_allowed(text: str) -> None:
    with pytest.raises(Refused, match="private"):
        check_address(ip_address(text), allow_private=False)
    check_address(ip_address(text), allow_private=True)


@pytest.mark.parametrize("allow_private", [False, True])
@pytest.mark.parametrize("text", NEVER)
def test_metadata_and_special_addresses_never(text: str, allow_private: bool) -> None:
    with pytest.raises(Refused, match="address"):
        check_address(ip_address(text), allow_private=allow_private)


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_always(text: str) -> None:
    check_address(ip_address(text), allow_private=False)


@given(st.ip_addresses(v=4))
def test_nothing_that_python_calls_private_gets_through(address: IPv4Address) -> None:
    if not address.is_global or address.is_multicast:
        with pytest.raises(Refused):
            check_address(address, allow_private=False)


@given(st.ip_addresses(v=4), st.sampled_from([0, 0xFFFF << 32, 0xFFFF << 48, 0x64FF9B << 96, 0x64FF9B0001 << 80]))
def test_no_ipv6_form_that_carries_an_ipv4_address_gets_through(inner: IPv4Address, prefix: int) -> None:
    with pytest.raises(Refused):
        check_address(IPv6Address(prefix | int(inner)), allow_private=True)


@given(st.ip_addresses(v=4), st.integers(0, 2**80 - 1))
def test_no_6to4_gets_through(inner: IPv4Address, rest: int) -> None:
    with pytest.raises(Refused):
        check_address(IPv6Address(0x2002 << 112 | int(inner) << 80 | rest), allow_private=True)


MALFORMED = (
    # numbers that C libraries read as 127.0.0.1 or 169.254.169.254
    "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://0177.0.0.1/", "http://017700000001/",
    "http://127.1/", "http://127.0.1/", "http://0/", "http://0x7F.0x0.0x0.0x1/", "http://2852039166/",
    "http://0xa9fea9fe/", "http://0251.0376.0251.0376/", "http://169.254.43518/", "http://127.0.0.1.0x1/",
    "http://1.2.3.4.5/", "http://256.1.1.1/", "http://127.0.0.01/", "http://0x/", "http://00000000000.1/",
    # IPv6
    "http://[::1/", "http://::1/", "http://[::1]x/", "http://[fe80::1%25lo]/", "http://[fe80::1%lo]/",
    "http://[::1]:/", "http://[v1.abc]/", "http://[]/", "http://[127.0.0.1]/", "http://[::ffff:127.0.0.1%25lo]/",
    # two parsers, two hosts
    "http://good.example@127.0.0.1/", "http://127.0.0.1@good.example/", "http://a:b@good.example/",
    "http://good.example\\@127.0.0.1/", "http://127.0.0.1\\.good.example/", "http://good.example:80@127.0.0.1/",
    "http://good.example:80:81/", "http:///good.example/", "http:good.example/",
    "http:/good.example", "//good.example/", "http://good.example /", "http://good.example\t/", "http://@/",
    "http://good.example\r\nX: y/", "http://good.example/\r\nX: y", "http://good.example/a b", "http://good.ex\x00le/",
    "http://good%2eexample/", "http://127.0.0.1%2f@x/", "http://good..example/", "http://.good.example/",
    "http://good.example./", "http://localhost./", "http://-good.example/", "http://", "http://?", "", " ",
    " http://good.example/", "http://good.example/\x7f", "http://good.example|127.0.0.1/",
    # Unicode that maps to ASCII
    "http://１２７.０.０.１/", "http://①②⑦.0.0.1/", "http://127。0。0。1/", "http://gооd.example/",
    "http://good.example/\u202e", "http://ⓛocalhost/",
    # schemes
    "ftp://good.example/", "file:///etc/passwd", "gopher://127.0.0.1:6379/_INFO", "dict://127.0.0.1:11211/",
    "javascript:alert(1)", "data:,x", "unix:///run/docker.sock", "httpx://good.example/", "https+unix://x/",
    # ports
    "http://good.example:25/", "http://good.example:22/", "http://good.example:0/", "http://good.example:65536/",
    "http://good.example:-80/", "http://good.example:+80/", "http://good.example:٨٠/", "http://good.example:1023/",
    "http://good.example:/", "http://good.example:8 0/", "http://good.example:000080/", "http://good.example:6e3/",
    # length
    "http://good.example/" + "a" * 2048, "http://" + "a" * 64 + ".example/", "http://" + "a." * 127 + "example/",
)  # fmt: skip


@pytest.mark.parametrize("url", MALFORMED)
def test_urls_that_are_refused_before_any_lookup(url: str) -> None:
    with pytest.raises(Refused):
        parse_url(url)


GOOD = {
    "https://hooks.example.com/in": Target("https", "hooks.example.com", 443, "/in"),
    "HTTPS://Hooks.Example.COM": Target("https", "hooks.example.com", 443, "/"),
    "http://example.com:8080/a/b?x=1&y=%20#part": Target("http", "example.com", 8080, "/a/b?x=1&y=%20"),
    "https://example.com?x=1": Target("https", "example.com", 443, "/?x=1"),
    "https://example.com:443/": Target("https", "example.com", 443, "/"),
    "http://example.com:443/": Target("http", "example.com", 443, "/"),
    "https://example.com:65535/": Target("https", "example.com", 65535, "/"),
    "https://xn--bcher-kva.example/": Target("https", "xn--bcher-kva.example", 443, "/"),
    "https://8.8.8.8/": Target("https", "8.8.8.8", 443, "/"),
    "https://[2606:4700::1111]/x": Target("https", "2606:4700::1111", 443, "/x"),
    "https://[2606:4700:0:0::1111]:8443/x": Target("https", "2606:4700::1111", 8443, "/x"),
    "http://kafka/": Target("http", "kafka", 80, "/"),
    "http://my_service.internal:3000/": Target("http", "my_service.internal", 3000, "/"),
    "https://a.b.c.d.e.example/~u/;p=1,2/@me:x": Target("https", "a.b.c.d.e.example", 443, "/~u/;p=1,2/@me:x"),
    "http://good.example#@127.0.0.1:x/": Target("http", "good.example", 80, "/"),
    "https://1e100.net/": Target("https", "1e100.net", 443, "/"),
    "https://0x7f.example/": Target("https", "0x7f.example", 443, "/"),
    "https://example.com/?u=http://127.0.0.1/": Target("https", "example.com", 443, "/?u=http://127.0.0.1/"),
}


@pytest.mark.parametrize("url", GOOD)
def test_good_urls_come_apart_right(url: str) -> None:
    assert parse_url(url) == GOOD[url]


@pytest.mark.parametrize(
    ("url", "host_header"),
    [
        ("https://example.com/", "example.com"),
        ("https://example.com:8443/", "example.com:8443"),
        ("http://example.com:443/", "example.com:443"),
        ("https://[2606:4700::1111]/", "[2606:4700::1111]"),
        ("https://[2606:4700::1111]:8443/", "[2606:4700::1111]:8443"),
    ],
)
def test_host_header(url: str, host_header: str) -> None:
    assert parse_url(url).host_header == host_header


@given(st.text(max_size=60))
def test_no_text_is_anything_but_a_target_or_refused(text: str) -> None:
    for url in (text, "http://" + text, "https://[" + text, "http://a:" + text):
        try:
            target = parse_url(url)
        except Refused:
            continue
        assert target.scheme in ("http", "https")
        assert set(target.host) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_:")
        assert not set(target.target) & set(" \r\n\t\\#")
        assert target.port in (80, 443) or 1024 <= target.port <= 65535
