"""Submit jobs and read what became of them, from any Python program. Needs the base install only.

    from ops.settings import Settings
    from producers.client import Client, one_shot

    with Client(Settings(bootstrap_servers="127.0.0.1:19092")) as client:
        job = client.submit(one_shot("a red ball moving left on a black background", duration_s=2.0))
        print(client.wait(job, timeout_s=120).state)

Reads: jobs.state, jobs.finished. Writes: jobs.requested.<lane>, jobs.control. State: none.
"""

from producers.client.client import Client as Client
from producers.client.core import one_shot as one_shot
