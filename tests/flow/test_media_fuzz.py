"""A few hundred mutated files; the long run is `python -m tests.hostile.media_fuzz` (docs/reports/media-fuzz.json)."""

from tests.hostile import media_fuzz


def test_mutated_files_cost_children_and_nothing_else() -> None:
    report = media_fuzz.run(300, seed=5)
    assert report["broken"] == []
    outcomes = report["outcomes"]
    assert sum(outcomes.values()) == 300
    assert min(outcomes["pixels"], outcomes["refused"]) > 30, "mutations that are all refused, or all fine, test little"
    assert sum(report["in_a_child_of_their_own"].values()) == 3


def test_a_mutation_can_be_made_again() -> None:
    assert media_fuzz.mutation(1, 7) == media_fuzz.mutation(1, 7)
    assert len({media_fuzz.mutation(1, number)[1] for number in range(50)}) > 45
