"""Every row of a batch looked at, and nothing sent."""

from collections.abc import Callable, Generator, Mapping
from functools import partial

from producers.batch.estimate import Estimate
from producers.batch.fields import check_columns
from producers.batch.files import ErrorFile
from producers.batch.plan import Plan, RowFault
from producers.batch.reading import Reading
from producers.batch.repeats import Repeats
from producers.batch.rows import Maker
from producers.batch.sources import Source
from schemas.errors import JobRejected
from schemas.registry import ModelEntry
from schemas.request import JobRequest

LOOK_ROWS = 64
Examine = Callable[[JobRequest], bool]
"""Whether a person is to read its texts first. Raises JobRejected for a request that the pipeline would refuse."""


def check_all(
    plan: Plan,
    sources: list[Source],
    report: ErrorFile,
    examine: Examine,
    models: Mapping[str, ModelEntry],
    estimate: Estimate,
    s3_endpoint_url: str = "",
) -> Generator[int, None, None]:
    """Adds what is right to the estimate and tells the rest; yields how many bytes are read, about."""
    repeats, before = Repeats(), 0
    for index, source in enumerate(sources):
        maker = Maker(plan, source.name, typed=source.typed)
        with Reading(source, s3_endpoint_url, partial(check_columns, plan, source.name)) as read:
            for number, row in read.rows():
                for cell, request, _ in maker.jobs(number, row):
                    found = request if isinstance(request, RowFault) else False
                    if isinstance(request, JobRequest):
                        place = (number << 16) | index
                        earlier = repeats.first(request.job_id, place)
                        found = _examined(request, examine) if earlier is None else _repeated(request, earlier, sources)
                    if isinstance(found, RowFault):
                        report.add(source.name, number, cell, found)
                    elif isinstance(request, JobRequest):
                        estimate.add(request, models, in_review=found)
                if number % LOOK_ROWS == 0:
                    yield before + read.bytes_read
        before += source.size_bytes
        yield before


def _examined(request: JobRequest, examine: Examine) -> RowFault | bool:
    try:
        return examine(request)
    except JobRejected as exc:
        return RowFault(exc.field, exc.message)


def _repeated(request: JobRequest, place: int, sources: list[Source]) -> RowFault:
    where = f"row {place >> 16} of {sources[place & 0xFFFF].name}"
    return RowFault("job_id", f'job_id: "{request.job_id}" is the id of {where} too; ids are unique, give another')
