"""`python -m ops.bench.fairness_report DIR`: the fairness bench as JSON and as a plot, written into a folder."""

import json
import sys
from pathlib import Path

from ops.bench.fairness import run
from ops.simulate.plots import plot_goodput


def main(folder: Path) -> None:
    """Writes fairness.json and fairness-goodput.png."""
    result = run()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fairness.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    plot_goodput(result["peers"], folder / "fairness-goodput.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
