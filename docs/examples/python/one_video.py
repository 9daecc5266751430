"""One video, from prompt to file: `python one_video.py "a red ball moving left on a black background" ball.mp4`."""

import sys

from producers.client import Client

prompt, path = sys.argv[1:]
with Client() as client:  # REELBUS_BOOTSTRAP_SERVERS; Client("broker:9092") names another
    job = client.submit(shots=[{"prompt": prompt, "duration_s": 1}])
    for reply in job.events(timeout_s=300):
        print(reply.type, reply.reason.message if reply.reason else "")
    print(job.download(path))
