"""The cores of all stages together on a fake log, a fake store and a fake clock, under a hypothesis state machine.

What is real: every `core.py`, the decisions of the front stages, the schemas. What is modelled: the shells' order of
effects, as generators that yield between any two effects, so that a crash, a freeze or a rebalance can fall there
(`front`, `worker`, `scheduling`, `tracking`, `rendering`); the broker (`log`, `groups`), the store and the device.

`python -m tests.simulation --programs N --seed S` runs it long and prints one JSON line.
"""
