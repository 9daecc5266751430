"""intake: fetches the files that a job names and makes our own frames of them.

reads:  inputs.requested.<lane> (ClearedJob) and its own inputs.retry.<delay> topics; key = "tenant/job_id"
writes: an object inputs/<tenant>/<name>.mkv per picture, its content credentials beside it (.c2pa) if it has any, then
        jobs.cleared.<lane> with `inputs` filled; or inputs.retry.<delay> where the other side gives no answer; or a
        job.rejected event (jobs.events) where the file is the caller's fault
state:  none; objects are named by the file's hash and how its frames were made, so a repeat finds them

Fetching, decoding and reading credentials happen in child processes that can do nothing else (ops/net, ops/media,
ops/sandbox).
"""
