"""track: the one writer of the truth. Folds every stage's events into the state of each job.

reads   jobs.events
writes  jobs.state (compacted), jobs.replies, jobs.finished, usage.metered, in one transaction with the offsets;
        on jobs.control: a cancel for what was let through under the id of an ended job, expire for what is overdue,
        release for what dispatch may still hold of a job that has ended
state   JobState per job, in memory per partition and in jobs.state; read back when a partition is assigned
"""
