"""What tests share: one real broker for the whole run (one for each of its processes), settings for every test.

`broker` starts Apache Kafka once, on a free port, in a temporary directory. `settings` gives each test topics, groups
and transactional ids of its own by a random prefix, so tests may run in any order. Its topics are deleted at its end:
Kafka maps the index files of every partition, and dies of the kernel's limit (vm.max_map_count, 65,530 as a rule) at
some 19,000 partitions, which is what a hundred tests with all topics make.
"""

import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient

from ops import topics_admin
from ops.local import children
from ops.settings import Settings
from schemas import catalog
from schemas.topics import LIVE_TOPICS, Topic

if TYPE_CHECKING:
    from ops.local.kafka import LocalKafka

pytest_plugins = ("tests.limits",)
MakeSettings = Callable[..., Settings]
ANSWER_S = 30.0
SLOW = ("tests/simulation/", "tests/e2e/", "tests/fuzz/", "tests/flow/")
"""The first one only computes: it runs beside the second, which starts many processes."""


def unavailable(reason: str) -> None:
    """Skip on a laptop, fail in CI: a test that silently never ran there would prove nothing."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several processes (`make test`), files that take minutes go first, or one process ends alone with them."""
    items.sort(key=lambda item: next((n for n, path in enumerate(SLOW) if item.nodeid.startswith(path)), len(SLOW)))


@pytest.fixture(autouse=True)
def _committed_schemas() -> Iterator[None]:
    """A test that installs another registry does not leave it to the next one."""
    before = catalog.in_use()
    yield
    catalog.use(before)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command that a test runs in this process sets up logging for a whole process: the next test hears again."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    for handler in [each for each in root.handlers if type(each) is logging.StreamHandler and each not in handlers]:
        root.removeHandler(handler)


@pytest.fixture(scope="session")
def kafka_jars() -> str:
    """Class path of the local broker."""
    from ops.local.jars import fetch_jars
    from schemas.errors import Fatal

    try:
        return fetch_jars()
    except Fatal as exc:
        unavailable(f"no local Kafka: {exc}")
        raise


@pytest.fixture(scope="session")
def broker(kafka_jars: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator["LocalKafka"]:
    """The broker that all tests of the run share; clients connect to `broker.bootstrap_servers`."""
    from ops.local.kafka import LocalKafka

    with LocalKafka(tmp_path_factory.mktemp("kafka"), "auto") as kafka:
        yield kafka


@pytest.fixture
def bare_settings(tmp_path: Path) -> Settings:
    """Settings with a prefix, store and data directory of their own; no broker."""
    return Settings(prefix=f"t{secrets.token_hex(4)}", store=str(tmp_path / "store"), data_dir=str(tmp_path / "data"))


@pytest.fixture(scope="session")
def admin(broker: "LocalKafka") -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap_servers})


@pytest.fixture
def make_settings(broker: "LocalKafka", admin: AdminClient, bare_settings: Settings) -> Iterator[MakeSettings]:
    """`make_settings(topics=(...), **changes)`: settings on the real broker with only the named topics created."""

    if broker.pid is None:
        pytest.fail(f"the broker of this run has ended:\n{children.tail(broker.log)}")

    def make(topics: Sequence[Topic] = LIVE_TOPICS, **changes: object) -> Settings:
        made = bare_settings.replace(bootstrap_servers=broker.bootstrap_servers, **changes)
        topics_admin.apply(made, topics_admin.plan(made, topics=topics))
        return made

    yield make
    left = [name for name in admin.list_topics(timeout=ANSWER_S).topics if bare_settings.prefix in name]
    for deleted in admin.delete_topics(left).values() if left else ():
        deleted.result(ANSWER_S)


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    """Settings on the real broker with all topics created (0.3 s)."""
    return make_settings()
