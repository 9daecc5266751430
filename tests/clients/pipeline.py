"""The pipeline that the programs talk to: broker, registry, all stages, a directory as store, a loaded model."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops import schema_files, schema_registry
from ops.cli.stack import Say, stack
from ops.local import apicurio
from ops.schema_registry import Registry
from ops.schema_registry_rest import Rest
from ops.settings import Settings
from producers.client import Operator
from schemas.request import JobRequest, Output, Shot

PREFIX = "clients"
"""Not the default: each program must honour the prefix that it is given."""
WARM_UP_S = 300.0
OUTPUT = Output(width_px=320, height_px=180, fps=12)


@contextmanager
def running(folder: Path, say: Say) -> Iterator[Settings]:
    """As in production, with a schema registry: JSON callers need not know that there is one."""
    say("starting Apicurio Registry")
    with apicurio.running(folder) as url:
        versions = [version.schema for found in schema_files.committed().values() for version in found]
        pushed = list(schema_registry.push(Registry(Rest(url)), versions))
        say(f"registered {len(pushed)} schemas")
        settings = Settings(
            prefix=PREFIX, store=str(folder / "store"), data_dir=str(folder / "data"), schema_registry=url
        )
        with stack(settings, local_port=0, workers=1, say=say) as started:
            _warm_up(started.settings)
            yield started.settings


def _warm_up(settings: Settings) -> None:
    """One job of our own, so that no program waits for the model to load."""
    shot = Shot(prompt="a red ball", duration_s=0.5)
    with Operator(settings) as operator:
        name = operator.submit(JobRequest(job_id="warm-up", shots=(shot,), output=OUTPUT))
        state = operator.wait(name, timeout_s=WARM_UP_S)
    if state.state != "completed":
        raise RuntimeError(f"the pipeline does not work: {name} is {state.state}: {state.reason}")
