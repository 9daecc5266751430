"""No packet goes where it may not: all of tests/hostile/urls.py in a network where every address is a listener."""

import json
import subprocess
import sys

import pytest

from ops.sandbox.child import ROOT
from tests.hostile import urls


@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux'")
@pytest.mark.timeout(600)
def test_hostile_addresses_are_never_called_and_good_ones_are() -> None:
    command = [sys.executable, "-m", "tests.hostile.url_trial"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    if "unavailable" in report:
        pytest.skip(report["unavailable"])
    assert report["leaks"] == {}
    assert report["let_through"] == {}
    assert report["refused_good"] == {}
    assert report["hostile"] == len(set(urls.HOSTILE)) >= 80
    assert report["good"] == len(set(urls.GOOD)) >= 20
    assert report["reached_by_a_naive_client"] > 50, "the listeners see what a client without checks does"
