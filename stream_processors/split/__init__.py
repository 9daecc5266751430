"""split: cuts the shots of a job into chunks of bounded device time.

reads:  jobs.cleared.<lane>; key = "tenant/job_id"
writes: plans.drafted.<lane> (a plan without placement) and a job.planned event (jobs.events), or a job.failed event
        when the model has left the registry since the job was accepted; same key
state:  none
"""
