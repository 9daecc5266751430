"""One broker with SASL_SSL, SCRAM and default-deny for the tests of this folder."""

from collections.abc import Iterator

import pytest

from ops.settings import Settings
from tests.e2e.access import world as worlds
from tests.e2e.access.broker import SecureBroker, secure_broker
from tests.e2e.access.world import World


@pytest.fixture(scope="package")
def secured(kafka_jars: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    folder = tmp_path_factory.mktemp("secure")
    bare = Settings(store=str(folder / "store"), data_dir=str(folder / "data"))
    with secure_broker(folder, bare, kafka_jars) as broker:
        yield broker


@pytest.fixture(scope="package")
def world(secured: SecureBroker) -> World:
    return worlds.build(secured, "reelbus")


@pytest.fixture(scope="package")
def probed(secured: SecureBroker) -> World:
    """Another installation on the same cluster: probes that rightfully succeed leave their traces there."""
    return worlds.build(secured, "probed")
