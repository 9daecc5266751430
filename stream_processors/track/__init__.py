"""track: the one writer of the truth. Folds every stage's events into the state of each job.

reads   jobs.events
writes  jobs.state (compacted), jobs.replies, jobs.finished, usage.metered, in one transaction with the offsets;
        a cancel on jobs.control for what was let through under the id of an ended job
state   JobState per job, in memory per partition and in jobs.state; read back when a partition is assigned
"""
