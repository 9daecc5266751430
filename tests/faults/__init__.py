"""The fault harness: the real pipeline on the real broker, killed at every point, judged from outside only.

python -m tests.faults run         what `make faults` runs
python -m tests.faults soak        the long one
python -m tests.faults selfcheck   the checker must catch every seeded bug
"""
