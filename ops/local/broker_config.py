"""Flags of the local broker's Java and its server.properties."""

from pathlib import Path

from ops.local.ports import HOST

QUICK_START = "-XX:TieredStopAtLevel=1"
"""C1 only. With the serial collector a start takes 2.3 s and 2.9 CPU-seconds instead of 3.2 s and 5.0 (two cores).
A broker that has much to do for minutes needs a third less of the machine without it."""
JVM = (
    "-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", QUICK_START, "-XX:-UsePerfData",
    "--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
    # Several clients that ask for a coordinator at once make it try again: harmless, a hundred lines.
    "-Dorg.slf4j.simpleLogger.log.kafka.server.DefaultAutoTopicCreationManager=error",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss",
)  # fmt: skip


def server_properties(log_dir: Path, port: int, controller_port: int) -> str:
    """Configuration of the one node. Buffers are small: a default broker wants more memory than our whole pipeline."""
    properties = {
        "process.roles": "broker,controller",
        "node.id": 1,
        # A static quorum: the controller may come back on another port.
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": log_dir,
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 8,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.num.partitions": 8,
        "transaction.state.log.min.isr": 1,
        "transaction.max.timeout.ms": 60_000,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "num.partitions": 4,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 4,
        "log.segment.bytes": 67_108_864,
        "log.index.size.max.bytes": 1_048_576,
        "log.segment.delete.delay.ms": 1000,  # a minute of deleted topics is more files than the kernel lets it map
        "log.cleaner.dedupe.buffer.size": 16_777_216,
        "metadata.log.segment.bytes": 67_108_864,
        # A killed broker's next start waits until its old session is over: 4 s, not 9.
        "broker.session.timeout.ms": 4000,
        "broker.heartbeat.interval.ms": 1000,
        "metadata.max.idle.interval.ms": 0,  # no empty record twice a second for ever
    }
    return "".join(f"{name}={value}\n" for name, value in properties.items())
