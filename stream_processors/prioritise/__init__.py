"""prioritise: adds to a plan what the scheduler needs to know, by policy: pool, weight, cost.

reads:  plans.drafted.<lane>; key = "tenant/job_id"
writes: plans.ready.<lane>, or a job.failed event (jobs.events) when the model has left the registry; same key
state:  none
"""
