"""reply: tells callers on their own topics what became of their jobs.

Reads:  jobs.replies
Writes: the reply topic that the request named, in the format of the request; key = job_id
State:  none. A reply may be written twice after a crash; both have the same id.
"""
