"""Our import names are plain words; nobody else's distribution may own them."""

from importlib.metadata import packages_distributions

import pytest

OURS = ("producers", "stream_processors", "gpu_consumers", "schemas", "ops")


@pytest.mark.parametrize("name", OURS)
def test_no_other_distribution_owns_our_package(name):
    assert set(packages_distributions().get(name, ["reelbus"])) == {"reelbus"}
