"""Submit jobs, follow them and fetch their videos, from any Python program. Needs the base install only.

    from producers.client import Client, one_shot

    with Client("127.0.0.1:19092") as client:
        job = client.submit(one_shot("a red ball moving left on a black background", duration_s=2.0))
        print(job.download("ball.mp4", timeout_s=120))

`verify` says of a video, a file or its https address, whether it is one of ours and as it was signed (needs
`reelbus[verify]`, no broker).

Reads: the tenant's reply topic; `Operator` reads jobs.state and jobs.finished. Writes: jobs.requested.<lane>,
orders.requested. State: none.
"""

from ops.verification import Credentials as Credentials
from ops.verification import NotVerifiable as NotVerifiable
from ops.verification import Verification as Verification
from ops.verify import verify as verify
from producers.client.aio import AsyncClient as AsyncClient
from producers.client.aio import AsyncJob as AsyncJob
from producers.client.client import Client as Client
from producers.client.client import Job as Job
from producers.client.core import new_job_id as new_job_id
from producers.client.core import one_shot as one_shot
from producers.client.operator import Operator as Operator
from producers.client.signing import Signer as Signer
from producers.client.story import NoVideo as NoVideo
