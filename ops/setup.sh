#!/bin/sh
# Makes the environment: `ops/setup.sh PYTHON FOLDER`. Everything that is installed is pinned by hash.
set -eu
python=$1
venv=$2

say() { printf '\n== %s\n' "$*" >&2; }

"$python" - <<'EOF' || { echo "reelbus needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
import sys
if sys.version_info < (3, 11):
    sys.exit("%s is Python %d.%d" % (sys.executable, *sys.version_info[:2]))
EOF

if [ ! -x "$venv/bin/python" ]; then
    say "1/4 making $venv"
    "$python" -m venv "$venv" || {
        rm -rf "$venv"
        echo "python -m venv failed (on Debian: apt-get install python3-venv)" >&2
        exit 1
    }
fi

say "2/4 installing pinned packages (the first time some GB, mostly torch)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r ops/requirements-setup.txt
"$venv/bin/uv" pip install --python "$venv/bin/python" --require-hashes -r requirements.txt

say "3/4 installing reelbus itself"
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .

say "4/4 Kafka"
"$venv/bin/python" -m ops.local.jars
say "set-up is complete"
