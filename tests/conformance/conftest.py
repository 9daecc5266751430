"""Real S3 servers for the conformance suites, started once per test run."""

import sys
from collections.abc import Iterator

import pytest
from moto.server import ThreadedMotoServer

from ops.storage.local_s3 import S3Endpoint, serve
from schemas.errors import Fatal
from tests.conftest import unavailable


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[S3Endpoint]:
    """moto's S3 server on a free loopback port. Runs everywhere; does not look at credentials."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield S3Endpoint(f"http://{host}:{port}", "reelbus-test", "reelbus-test")
    server.stop()


@pytest.fixture(scope="session")
def versitygw_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Endpoint]:
    """versitygw on a free loopback port; without Go the tests are skipped on a laptop and fail in CI."""
    try:
        with serve(tmp_path_factory.mktemp("versitygw"), lambda text: print(text, file=sys.stderr)) as endpoint:
            yield endpoint
    except Fatal as exc:
        unavailable(f"no versitygw: {exc}")
