"""Hostile and good addresses against listeners on every address: `python -m tests.hostile.url_trial`.

What counts is not what the fetcher says but what a listener sees: connections to addresses that are not public ones of
this trial are leaks. Prints one line of JSON. Every WHOLE_EVERYth address goes through the product's child process, the
others through the same function in this process; `--whole` sends all of them through the child.
"""

import argparse
import contextlib
import json
import os
import selectors
import socket
import ssl
import struct
import tempfile
import threading
import urllib.request
from collections import Counter
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import unquote

from ops.net.addresses import Refused
from ops.net.dialling import NoAnswer
from ops.net.download import NoFile
from ops.net.fetch_child import fetched
from ops.net.fetching import LIMITS, MAX_BYTES, Order, fetch
from tests.hostile import everywhere, urls
from tests.hostile.tls import certificate

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(100)
PORTS = (443, 8443, 80, 22, 25, 21, 6379, 11211, 389)
TLS_PORTS = (443, 8443)
MARKER = "127.77.77.77"
PUBLIC = {urls.PUBLIC_V4, urls.PUBLIC_V4B, urls.PUBLIC_V6}
WHOLE_EVERY = 10


class Names(threading.Thread):
    """Answers lookups of urls.NAMES over UDP, as the resolver's name servers."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.asked: Counter[tuple[str, int]] = Counter()
        self._selector = selectors.DefaultSelector()
        for address in everywhere.name_servers():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            listener = socket.socket(family, socket.SOCK_DGRAM)
            listener.bind((address, 53))
            self._selector.register(listener, selectors.EVENT_READ)

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                assert isinstance(key.fileobj, socket.socket)
                question, sender = key.fileobj.recvfrom(4096)
                key.fileobj.sendto(self._answer(question), sender)

    def _answer(self, question: bytes) -> bytes:
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode())
            at += 1 + question[at]
        kind = struct.unpack(">H", question[at + 1 : at + 3])[0]
        name = ".".join(labels).lower()
        lookups = urls.NAMES.get(name, [])
        turn = min(self.asked[name, kind], len(lookups) - 1)
        self.asked[name, kind] += 1
        found = [ip_address(text).packed for text in (lookups[turn] if lookups else ())]
        wanted = [packed for packed in found if len(packed) == {1: 4, 28: 16}.get(kind)]
        head = question[:2] + struct.pack(">HHHHH", 0x8180 if lookups else 0x8183, 1, len(wanted), 0, 0)
        records = [b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(packed)) + packed for packed in wanted]
        return head + question[12 : at + 5] + b"".join(records)


class Sink(threading.Thread):
    """Listens on every address and all PORTS; notes who was called, and serves what a good host would."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(daemon=True)
        self._tls = tls
        self._seen: list[str] = []
        self._settled = threading.Semaphore(0)
        self._selector = selectors.DefaultSelector()
        for port in PORTS:
            listener = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
            self._selector.register(listener, selectors.EVENT_READ, port)

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                assert isinstance(key.fileobj, socket.socket)
                connection, _ = key.fileobj.accept()
                called = connection.getsockname()[0].removeprefix("::ffff:")
                if called == MARKER:
                    connection.close()
                    self._settled.release()
                    continue
                self._seen.append(called)
                port = key.data
                threading.Thread(target=self._serve, args=(connection, port), daemon=True).start()

    def take(self) -> list[str]:
        """Addresses called since the last time, also by what was connected just before: queues are in order."""
        for port in PORTS:
            socket.create_connection((MARKER, port)).close()
        for _ in PORTS:
            self._settled.acquire()
        seen, self._seen = self._seen, []
        return seen

    def _serve(self, connection: socket.socket, port: int) -> None:
        with contextlib.suppress(OSError, ValueError, IndexError), connection:
            connection.settimeout(5)
            stream = self._tls.wrap_socket(connection, server_side=True) if port in TLS_PORTS else connection
            path = stream.recv(8192).split(b" ")[1].decode()
            if path.partition("?")[0] == "/to":
                place = unquote(path.partition("?")[2])
                stream.sendall(f"HTTP/1.1 302 Moved\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())
            else:
                stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PICTURE) + PICTURE)
            if isinstance(stream, ssl.SSLSocket):
                stream.unwrap()


def attempt(url: str, folder: Path, whole: bool) -> str:
    """What the fetcher says."""
    target = folder / "file"
    target.unlink(missing_ok=True)
    if whole:
        try:
            fetch(url, target)
        except (Refused, NoFile, NoAnswer) as exc:
            return f"{type(exc).__name__}: {exc}"
    else:
        with target.open("xb") as file:
            answer = fetched(Order(os.dup(file.fileno()), LIMITS, url, MAX_BYTES, 5.0, False, False))
        if answer.error:
            return f"{answer.outcome}: {answer.error}"
    return "fetched" if target.read_bytes() == PICTURE else "fetched something else"


def naive(url: str) -> None:
    """What a client does that looks at nothing."""
    with contextlib.suppress(Exception):
        urllib.request.urlopen(url, timeout=1).read()


def run(whole: bool) -> dict[str, object]:
    """The report."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        names = [*urls.NAMES, *sorted(PUBLIC)]
        tls, authority = certificate(folder, names)
        os.environ["SSL_CERT_FILE"] = str(authority)
        if not everywhere.enter():
            return {"unavailable": "the kernel lets no user make a network namespace"}
        Names().start()
        sink = Sink(tls)
        sink.start()
        leaks, let_through, said = {}, {}, {}
        for number, url in enumerate(urls.HOSTILE):
            said[url] = attempt(url, folder, whole or number % WHOLE_EVERY == 0)
            if wrong := [called for called in sink.take() if called not in PUBLIC]:
                leaks[url] = wrong
            if said[url].startswith("fetched"):
                let_through[url] = said[url]
        refused_good = {}
        for url in urls.GOOD:
            outcome = attempt(url, folder, True)
            if outcome != "fetched" or not set(sink.take()) & PUBLIC:
                refused_good[url] = outcome
        reached = 0
        for url in urls.HOSTILE:
            naive(url)
            reached += any(called not in PUBLIC for called in sink.take())
    return {
        "hostile": len(urls.HOSTILE), "leaks": leaks, "let_through": let_through, "said": said,
        "good": len(urls.GOOD), "refused_good": refused_good, "reached_by_a_naive_client": reached,
    }  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whole", action="store_true", help="all addresses through the product's child process")
    print(json.dumps(run(parser.parse_args().whole)))


if __name__ == "__main__":
    main()
