"""moderate: the door. Validates a job request and judges its prompts; refuses with a reason that names the field,
or lets the job on with a mark of what a person is to read.

reads:  jobs.requested.<lane>; key = job_id as the client chose it; orders.requested; tenants.prompts, by a thread of
        its own and without a group
writes: jobs.cleared.<lane>, or inputs.requested.<lane> where files of the caller are to be fetched first, and a
        job.accepted event, or a job.rejected event (jobs.events); key = "tenant/job_id";
        what carries no usable job_id goes to the dead letter topic of the topic it came from
state:  none but tenants' rules for texts, read from their topic at start. Two requests with one job_id are judged
        alike and independently; track tells them apart
"""
