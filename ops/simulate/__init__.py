"""The scheduler in virtual time: its real core and the render workers' real core against jobs from a file or made up.

No Kafka, no wall clock, no sleep: a heap of events. What is simulated are the devices (how long a chunk, a batch, a
model's load takes) and the records' way between scheduler and workers; what decides is what runs in production.
"""
