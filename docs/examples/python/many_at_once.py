"""A hundred prompts from standard input, awaited side by side; every video is written to DIR as it is ready."""

import asyncio
import sys
from pathlib import Path

from producers.client import AsyncClient, AsyncJob, NoVideo
from schemas.errors import JobRejected


async def save(job: AsyncJob, folder: Path) -> str:
    try:
        return str(await job.download(folder / f"{job.job_id}.mp4", timeout_s=600))
    except (JobRejected, NoVideo) as exc:
        return f"{job.job_id}: {exc}"


async def main(folder: Path) -> None:
    prompts = [line.strip() for line in sys.stdin if line.strip()]
    async with AsyncClient() as client:
        jobs = await client.submit_many([{"shots": [{"prompt": text, "duration_s": 1}]} for text in prompts])
        for ready in asyncio.as_completed([save(job, folder) for job in jobs]):
            print(await ready)


asyncio.run(main(Path(sys.argv[1])))
