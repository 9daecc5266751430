"""A schema registry that misbehaves: what is tried again, what is a dead letter, what ends the process.

The server here is a program of ours that answers as told: a real registry cannot be made to answer 503 on demand.
"""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ops import schema_registry, schemas_admin
from ops.local import ports
from ops.schema_registry import Registry
from ops.schema_registry_rest import Credentials, Incompatible, NotRegistered, Rest, checked_url, read_credentials
from ops.settings import Settings, SettingsError
from schemas import catalog, codec
from schemas.errors import Fatal, InvalidMessage, Transient
from schemas.request import JobOrder

Answer = tuple[int, Any]
ORDER = json.dumps(schemas_admin.current()["JobOrder"])
UNKNOWN = (404, {"error_code": 40403, "message": "Schema not found"})


class Server:
    """Answers with what `answers` gives for a request, and keeps what was asked."""

    def __init__(self, port: int = 0) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.answers: Callable[[str, str], Answer] = lambda method, path: UNKNOWN
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                outer.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
                status, body = outer.answers(self.command, self.path)
                raw = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = do_PUT = _serve

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer((ports.HOST, port), Handler)
        self.url = f"http://{ports.HOST}:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _own_catalog() -> Iterator[None]:
    yield
    catalog.use(catalog.committed())


def _in_turn(*answers: Answer) -> Callable[[str, str], Answer]:
    left = list(answers)
    return lambda method, path: left.pop(0) if len(left) > 1 else left[0]


def test_a_busy_registry_is_asked_again_and_then_not_at_all(server) -> None:
    server.answers = _in_turn((503, {"message": "starting"}), (200, {"schema": ORDER}))
    registry = Registry(Rest(server.url))
    assert registry.writer(3)["name"] == "reelbus.v1.JobOrder"
    assert registry.writer(3) is registry.writer(3)
    assert [path for _, path, _ in server.asked] == ["/schemas/ids/3"] * 2


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_registry_that_stays_busy_is_transient(server, status) -> None:
    server.answers = _in_turn((status, {"message": "too much"}))
    with pytest.raises(Transient, match=f"answers {status}: too much"):
        Registry(Rest(server.url)).writer(3)
    assert len(server.asked) == 2


def test_a_registry_that_is_down_is_transient_and_what_is_known_goes_on(server) -> None:
    server.answers = lambda method, path: (200, {"id": 41} if method == "POST" else {"schema": ORDER})
    registry = Registry(Rest(server.url))
    catalog.use(registry)
    order = JobOrder(job_id="a", action="cancel")
    raw = codec.encode(order)
    assert raw[:5] == b"\x00\x00\x00\x00\x29"
    assert codec.decode(JobOrder, raw) == order
    server.close()
    assert codec.decode(JobOrder, codec.encode(order)) == order
    with pytest.raises(Transient, match="out of reach"):
        codec.decode(JobOrder, b"\x00\x00\x00\x00\x2a" + raw[5:])
    with pytest.raises(Transient, match="out of reach"):
        registry.id_of("JobRequest")


def test_json_needs_no_registry() -> None:
    catalog.use(Registry(Rest(f"http://{ports.HOST}:{ports.free_port()}")))
    order = JobOrder(job_id="a", action="cancel")
    assert codec.decode(JobOrder, codec.encode(order, "json")) == order


def test_an_unknown_id_is_a_dead_letter_and_is_not_asked_for_with_every_record(server) -> None:
    registry = Registry(Rest(server.url))
    for _ in range(5):
        with pytest.raises(InvalidMessage, match="schema id 9 is not known to the registry"):
            registry.writer(9)
    assert len(server.asked) == 1


def test_an_id_that_became_known_is_asked_for_again_later(server, monkeypatch) -> None:
    monkeypatch.setattr(schema_registry, "UNKNOWN_FOR_S", 0.0)
    server.answers = _in_turn(UNKNOWN, (200, {"schema": ORDER}))
    registry = Registry(Rest(server.url))
    with pytest.raises(InvalidMessage):
        registry.writer(9)
    assert registry.writer(9)["name"] == "reelbus.v1.JobOrder"


def test_forged_ids_do_not_fill_the_memory(server, monkeypatch) -> None:
    monkeypatch.setattr(schema_registry, "MAX_CACHED", 3)
    registry = Registry(Rest(server.url))
    for number in range(10):
        with pytest.raises(InvalidMessage):
            registry.writer(number)
    assert len(registry._refused) == 3


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"schema": "syntax = 'proto3';", "schemaType": "PROTOBUF"}, "schema id 5 is PROTOBUF; expected AVRO"),
        ({"schema": ORDER, "references": [{"name": "x"}]}, "schema id 5 refers to other subjects"),
        ({"schema": '"string"'}, "schema id 5 is not a record"),
        ({"schema": '{"type":"record","name":"R","fields":[{"name":"r","type":["null","R"]}]}'}, "schema id 5 has .*R"),
    ],
)
def test_a_schema_that_cannot_be_read_with_is_a_dead_letter(server, answer, words) -> None:
    server.answers = lambda method, path: (200, answer)
    with pytest.raises(InvalidMessage, match=words):
        Registry(Rest(server.url)).writer(5)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, {"error_code": 401, "message": "no"}), "answers 401: who we are does not open it; see .*auth_file"),
        ((403, b"no"), "answers 403"),
        ((404, b"<html>not here</html>"), "no schema registry's answer; is the path right"),
        ((404, {"error_code": 404, "message": "HTTP 404 Not Found"}), "answers 404: HTTP 404 Not Found"),
        ((200, b"<html>welcome</html>"), "no schema registry's answer"),
        ((200, b"[]"), "no schema registry's answer"),
        ((302, {"message": "elsewhere"}), "answers 302: elsewhere"),
        ((200, b'{"schema":"' + b"a" * 3_000_000 + b'"}'), "more than 2097152 bytes"),
        ((200, {"no": "schema"}), "gives no text for schema id 5"),
    ],
)
def test_what_is_no_registry_ends_the_process_instead_of_burying_records(server, answer, words) -> None:
    server.answers = lambda method, path: answer
    with pytest.raises(Fatal, match=words):
        Registry(Rest(server.url)).writer(5)


@pytest.mark.parametrize("found", [-1, 2**31, "7", None])
def test_an_id_that_fits_no_frame_ends_the_process(server, found) -> None:
    server.answers = lambda method, path: (200, {"id": found})
    with pytest.raises(Fatal, match="expected a number from 0 to 2147483647"):
        Registry(Rest(server.url)).id_of("JobOrder")


def test_a_schema_that_nobody_pushed_is_said_at_the_start(server) -> None:
    server.answers = lambda method, path: (404, {"error_code": 40401, "message": "Subject not found"})
    settings = Settings(schema_registry=server.url)
    with pytest.raises(Fatal, match=r"has no JobOrder .*subject reelbus\.v1\.JobOrder\): run `reelbus schemas push`"):
        schema_registry.install(settings, ["JobOrder"])
    assert server.asked[0][:2] == ("POST", "/subjects/reelbus.v1.JobOrder")


def test_a_start_waits_for_a_registry_that_is_not_up_yet() -> None:
    port = ports.free_port()
    began: list[Server] = []

    def start_server(*_: object) -> None:
        """In the place of the wait after the first refusal, so that nothing here depends on time."""
        if not began:
            made = Server(port)
            made.answers = lambda method, path: (200, {"id": 7})
            began.append(made)

    rest = Rest(f"http://{ports.HOST}:{port}")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ops.schema_registry_rest.time.sleep", start_server)
        registry = Registry(rest)
        registry.prepare(["JobOrder"])
    assert registry.id_of("JobOrder") == 7
    began[0].close()


def test_a_start_gives_up_in_the_end() -> None:
    settings = Settings(schema_registry=f"http://{ports.HOST}:{ports.free_port()}")
    with pytest.raises(Transient, match="out of reach"):
        schema_registry.install(settings, ["JobOrder"], patience_s=0.0)


def test_push_names_what_the_registry_refuses(server) -> None:
    refusal = (409, {"error_code": 409, "message": "Schema being registered is incompatible"})
    server.answers = lambda method, path: refusal if path.endswith("/versions") else UNKNOWN
    schema = schemas_admin.current()["JobOrder"]
    with pytest.raises(Incompatible, match="answers 409: Schema being registered is incompatible"):
        list(schema_registry.push(Registry(Rest(server.url)), [schema]))


def test_not_registered_is_said_by_the_registry_itself_or_not_at_all(server) -> None:
    with pytest.raises(NotRegistered, match="Schema not found"):
        Rest(server.url).schema(1)


# ---- who we are, and where -----------------------------------------------------------------------------------------


def _file(folder: Path, text: str) -> str:
    (folder / "auth").write_text(text)
    return str(folder / "auth")


def test_basic_and_bearer_come_from_a_file(server, tmp_path) -> None:
    for text, expected in (
        ("username=ada\npassword=s=cret\n", "Basic YWRhOnM9Y3JldA=="),
        ("token=abc\n", "Bearer abc"),
    ):
        with pytest.raises(NotRegistered):
            Rest(server.url, read_credentials(_file(tmp_path, text))).schema(1)
        assert server.asked[-1][2]["authorization"] == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("user=ada\n", "unknown key user; known are username, password"),
        ("username=ada\n", "username and password go together"),
        ("token=x\nusername=ada\npassword=y\n", "token and username"),
        ("cert_file=x\n", "cert_file and key_file go together"),
        ("nonsense\n", "expected key=value"),
    ],
)
def test_a_wrong_auth_file_is_named_and_not_shown(tmp_path, text, words) -> None:
    with pytest.raises(SettingsError, match=words):
        read_credentials(_file(tmp_path, text))


def test_secrets_are_not_printed() -> None:
    assert "s3cret" not in repr(Credentials(username="ada", password="s3cret", token="s3cret"))


def test_certificates_that_are_not_there_are_a_setting_error(tmp_path) -> None:
    with pytest.raises(SettingsError, match="ca_file"):
        Rest("https://registry.example", Credentials(ca_file=str(tmp_path / "none.pem")))


@pytest.mark.parametrize(
    "url", ["registry:8081", "ftp://x", "http://", "https://ada:x@host", "http://h/?a=b", "http://h/#x"]
)
def test_a_url_that_cannot_be_meant_is_refused(url) -> None:
    with pytest.raises(SettingsError, match="schema_registry"):
        checked_url(url)


def test_a_url_may_end_in_a_slash() -> None:
    assert checked_url("https://host/apis/ccompat/v7/") == "https://host/apis/ccompat/v7"


# ---- one process, one registry -------------------------------------------------------------------------------------


def test_without_a_url_the_file_registry_stays() -> None:
    schema_registry.install(Settings())
    assert catalog.in_use() is catalog.committed()


def test_the_same_registry_again_is_fine_and_another_is_not(server) -> None:
    schema_registry.install(Settings(schema_registry=server.url))
    first = catalog.in_use()
    schema_registry.install(Settings(schema_registry=f"{server.url}/"))
    assert catalog.in_use() is first
    for other in ("", "https://registry.example"):
        with pytest.raises(SettingsError, match="one process uses one registry"):
            schema_registry.install(Settings(schema_registry=other))
