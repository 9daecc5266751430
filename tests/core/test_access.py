"""Grants from the tables, and what is made of them: comparison, Strimzi manifests, kafka-acls commands, JSON."""

import json
import subprocess
from pathlib import Path

import pytest

from ops import topics_export
from ops.access import Grant, grants, is_ours, operator_grants, stage_grants, tenant_grants, touches
from ops.access_admin import compare
from ops.stages import STAGES
from ops.topics_wanted import wanted
from schemas.errors import Fatal
from schemas.tenants import TenantEntry, TenantsFile
from schemas.topics import LIVE_TOPICS

FILE = TenantsFile(tenants={"acme": TenantEntry(), "globex": TenantEntry(reply_topics=("answers.globex", "gx.*"))})
ACME = "User:tenant-acme"


def places(granted: list[Grant], operation: str) -> set[tuple[str, str, str]]:
    return {(g.resource, g.name, g.pattern) for g in granted if g.operation == operation}


def test_a_tenant_writes_requests_and_reads_what_is_under_its_own_name() -> None:
    mine = tenant_grants("acme", "p")
    assert {g.principal for g in mine} == {ACME}
    assert places(mine, "WRITE") == {
        ("topic", f"p.{entity}.v1", "literal")
        for entity in ("jobs.requested.express", "jobs.requested.standard", "jobs.requested.bulk", "orders.requested")
    }
    assert places(mine, "READ") == {("topic", "p.replies.acme.", "prefixed"), ("group", "p.replies.acme.", "prefixed")}
    assert {g.operation for g in mine} == {"READ", "WRITE", "DESCRIBE"}


def test_reply_topics_that_the_file_names_are_read_by_their_tenant_and_written_by_one_stage() -> None:
    theirs = tenant_grants("globex", "p", FILE.tenants["globex"])
    named = {("topic", "answers.globex", "literal"), ("topic", "gx.", "prefixed")}
    assert places(theirs, "READ") == {*named, ("group", "p.replies.globex.", "prefixed")}
    writers = {name for name, stage in STAGES.items() if places(stage_grants(stage, "p", FILE), "WRITE") & named}
    assert writers == {"reply"}
    assert places(stage_grants(STAGES["reply"], "p", FILE), "WRITE") >= {*named, ("topic", "p.replies.", "prefixed")}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_has_its_topics_their_dead_letters_and_its_groups(name: str) -> None:
    stage = STAGES[name]
    mine = stage_grants(stage, "p", FILE)
    assert {g.principal for g in mine} == {f"User:p-{name}"}
    read = {n for kind, n, _ in places(mine, "READ") if kind == "topic"}
    assert read == {topic.name("p") for topic in stage.reads}
    written = {n for kind, n, pattern in places(mine, "WRITE") if kind == "topic" and pattern == "literal"}
    buried = {f"dlq.{t.name('p')}" for t in stage.reads if t.record is not None and not t.compacted}
    assert written - {"answers.globex"} == buried | {t.name("p") for t in stage.writes if t.record is not None}
    assert {g.operation for g in mine} <= {"READ", "WRITE", "DESCRIBE"}
    assert all(g.pattern == "prefixed" for g in mine if g.resource == "transactional-id")


def test_nobody_but_the_operator_may_do_everything_and_nobody_is_granted_the_cluster() -> None:
    everybody = grants("p", FILE)
    assert {g.principal for g in everybody if g.operation == "ALL"} == {"User:p-ops"}
    assert {g.resource for g in everybody} == {"topic", "group", "transactional-id"}
    assert {g.permission for g in everybody} == {"ALLOW"}
    assert all(touches(g, "p") for g in operator_grants("p"))


def test_without_a_tenants_file_the_only_tenant_is_default() -> None:
    assert {g.principal for g in grants("p") if "tenant-" in g.principal} == {"User:tenant-default"}


@pytest.mark.parametrize(
    ("resource", "name", "pattern", "expected"),
    [
        ("topic", "p.jobs.state.v1", "literal", True),
        ("topic", "dlq.p.jobs.state.v1", "literal", True),
        ("topic", "*", "literal", True),
        ("topic", "p.jobs.", "prefixed", True),
        ("topic", "p", "prefixed", True),
        ("topic", "", "prefixed", True),
        ("topic", "pq.jobs.state.v1", "literal", False),
        ("topic", "pq.", "prefixed", False),
        ("group", "p.track", "literal", True),
        ("group", "dlq.p.track", "literal", False),
        ("transactional-id", "p.track-", "prefixed", True),
        ("cluster", "kafka-cluster", "literal", False),
    ],
)  # fmt: skip
def test_what_reaches_this_installation(resource: str, name: str, pattern: str, expected: bool) -> None:
    assert touches(Grant("User:x", resource, name, pattern, "READ"), "p") == expected  # type: ignore[arg-type]


def test_a_plan_grants_revokes_and_reports() -> None:
    want = tenant_grants("acme", "p")
    lacking, kept = want[0], want[1:]
    too_many = Grant(ACME, "topic", "p.jobs.state.v1", "literal", "READ")
    gone = Grant("User:tenant-gone", "topic", "p.replies.gone.", "prefixed", "READ")
    cluster = Grant(ACME, "cluster", "kafka-cluster", "literal", "ALTER")
    stranger = Grant("User:stranger", "topic", "*", "literal", "READ")
    theirs = Grant(ACME, "topic", "elsewhere", "literal", "READ")
    changes = compare(want, [*kept, too_many, gone, cluster, stranger, theirs], "p")
    assert {(c.action, c.grant) for c in changes} == {
        ("grant", lacking), ("revoke", too_many), ("revoke", gone), ("revoke", cluster), ("foreign", stranger),
    }  # fmt: skip
    assert compare(want, want, "p") == []
    assert not is_ours("User:stranger", "p")


def test_a_denial_that_the_table_does_not_want_is_told_as_such() -> None:
    deny = Grant(ACME, "topic", "p.replies.acme.", "prefixed", "READ", host="10.0.0.1", permission="DENY")
    (change,) = compare(grants("p", FILE), [*grants("p", FILE), deny], "p")
    said = "User:tenant-acme may not READ topic p.replies.acme.* (prefixed) from 10.0.0.1"
    assert (change.action, change.grant.sentence()) == ("revoke", said)


def test_strimzi_manifests_say_what_the_tables_say() -> None:
    manifests = topics_export.kafka_topics(wanted("p", replication=3), 3, "main")
    assert {m["metadata"]["name"] for m in manifests} >= {topic.name("p") for topic in LIVE_TOPICS}
    assert all(m["spec"]["replicas"] == 3 and m["spec"]["config"]["min.insync.replicas"] == "2" for m in manifests)
    told = set()
    for user in topics_export.kafka_users(grants("p", FILE), "main"):
        assert user["metadata"]["labels"] == {"strimzi.io/cluster": "main"}
        assert user["spec"]["authentication"] == {"type": "scram-sha-512"}
        for acl in user["spec"]["authorization"]["acls"]:
            at = acl["resource"]
            told |= {
                (user["metadata"]["name"], at["type"], at["name"], at["patternType"], o) for o in acl["operations"]
            }
    kinds, patterns = {"transactional-id": "transactionalId"}, {"prefixed": "prefix"}
    assert told == {
        (
            g.principal.removeprefix("User:"), kinds.get(g.resource, g.resource), g.name,
            patterns.get(g.pattern, g.pattern), g.operation.capitalize(),
        )
        for g in grants("p", FILE)
    }  # fmt: skip


def test_a_prefix_that_kubernetes_does_not_take_is_refused_by_name() -> None:
    with pytest.raises(Fatal, match="my_prefix"):
        topics_export.kafka_topics(wanted("my_prefix"), 3, "main")


def test_the_committed_manifests_are_those_of_the_tables() -> None:
    """`make generated` writes them."""
    for name, text in topics_export.examples().items():
        assert (topics_export.FOLDER / name).read_text() == text


def test_the_exported_script_calls_kafka_acls_with_every_grant(tmp_path: Path) -> None:
    """Run with a kafka-acls.sh that writes down its arguments."""
    granted = grants("p", FILE)
    script, tool, log = tmp_path / "acls.sh", tmp_path / "kafka-acls.sh", tmp_path / "log"
    script.write_text(topics_export.acl_commands(granted))
    tool.write_text(f'#!/bin/sh\nprintf "%s\\037" "$@" >> {log}\necho >> {log}\n')
    tool.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "BOOTSTRAP": "k:9092", "CONFIG": "super.properties"}
    subprocess.run(["sh", str(script)], env=env, check=True, capture_output=True)
    told = set()
    for line in log.read_text().splitlines():
        words = line.strip("\x1f").split("\x1f")
        assert words[:5] == ["--bootstrap-server", "k:9092", "--command-config", "super.properties", "--add"]
        options: dict[str, list[str]] = {}
        for flag, value in zip(words[5::2], words[6::2], strict=True):
            options.setdefault(flag, []).append(value)
        ((resource, (name,)),) = [
            (f[2:], v) for f, v in options.items() if f[2:] in ("topic", "group", "transactional-id")
        ]
        (who,), (pattern,) = options["--allow-principal"], options["--resource-pattern-type"]
        told |= {(who, resource, name, pattern, operation) for operation in options["--operation"]}
    assert told == {(g.principal, g.resource, g.name, g.pattern, g.operation.capitalize()) for g in granted}


def test_json_is_the_same_data() -> None:
    plain = json.loads(topics_export.as_json(wanted("p"), 1, grants("p", FILE)))
    assert {topic["name"] for topic in plain["topics"]} == {want.name for want in wanted("p")}
    assert [Grant(**acl) for acl in plain["acls"]] == grants("p", FILE)
