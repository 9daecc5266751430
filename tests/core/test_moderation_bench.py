"""The moderation bench runs, and says what it should."""

from ops.bench.moderation import run
from ops.prompt_policy.pack import CATEGORIES
from stream_processors.moderate.examples.obfuscations import OBFUSCATIONS


def test_the_bench_in_short() -> None:
    result = run(quick=True)
    names = [figure["name"] for figure in result["figures"]]
    assert [sum(name.startswith(f"recall, {kind}") for name in names) for kind in ("trick", "language")] == [
        len(OBFUSCATIONS),
        12,
    ]
    # Few texts: near the bars, not at them.
    values = {figure["name"]: figure["value"] for figure in result["figures"]}
    assert min(value for name, value in values.items() if name.startswith("recall")) > 0.9
    assert values["false positives of 140 harmless prompts"] < 0.05
    assert [row["category"] for row in result["peers"] if "category" in row] == list(CATEGORIES)
    assert sum(row["prompts"] for row in result["peers"] if "harmless" in row) == 7 * 20
