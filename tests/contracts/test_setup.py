"""What `make setup` installs is pinned by hash, and its two lists agree."""

import re
from pathlib import Path

from ops.local import jars
from ops.settings import PACKAGE_ROOT


def pins(file: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Version and hashes by name."""
    found = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"(?m)^#.*\n", "", file.read_text())):
        head = re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", block)
        assert head, f"{file.name}: not an exact pin: {block[:60]!r}"
        found[head[1]] = (head[2], frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", block)))
    return found


def test_every_requirement_has_hashes() -> None:
    assert all(hashes for _, hashes in pins(PACKAGE_ROOT / "requirements.txt").values())


def test_the_installer_is_the_one_that_the_requirements_name() -> None:
    setup = pins(PACKAGE_ROOT / "ops" / "requirements-setup.txt")
    assert list(setup) == ["uv"]
    assert setup["uv"] == pins(PACKAGE_ROOT / "requirements.txt")["uv"]


def test_every_jar_of_kafka_is_locked_by_sha256() -> None:
    lock = jars.read_lock(jars.LOCK.read_text())
    assert f"kafka_2.13-{jars.VERSION}.jar" in lock
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in lock.values())
