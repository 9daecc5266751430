"""Mutated records on every topic that a stage reads, with the real stages on the real broker.

`make fuzz` (or `python -m tests.fuzz`) sends 100,000 of them; tests/fuzz/test_fuzz.py a few thousand.
"""
