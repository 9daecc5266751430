"""The pipeline table agrees with itself, with the topics and with the code of the stages."""

import ast
import importlib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import schemas.topics
from ops.settings import PACKAGE_ROOT
from ops.stages import FEEDBACK, READ_OUTSIDE, STAGES, WRITTEN_BY_OPERATORS, WRITTEN_OUTSIDE, Stage, load
from schemas.topics import LIVE_TOPICS, REPLIES_DEFAULT, Topic


def folder(stage: Stage) -> Path:
    return PACKAGE_ROOT.joinpath(*stage.entry.partition(":")[0].split(".")).parent


def test_data_flows_one_way_except_by_the_declared_feedback() -> None:
    graph = {
        stage.name: {
            other.name
            for other in STAGES.values()
            if other is not stage and set(other.writes) & set(stage.reads) - set(FEEDBACK)
        }
        for stage in STAGES.values()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError
    order = list(STAGES)
    assert all(order.index(before) < order.index(name) for name, befores in graph.items() for before in befores)


def test_feedback_topics_really_close_a_loop() -> None:
    """A topic that needs no exception must not be declared as one."""
    order = list(STAGES)
    for topic in FEEDBACK:
        writers = [order.index(s.name) for s in STAGES.values() if topic in s.writes]
        readers = [order.index(s.name) for s in STAGES.values() if topic in s.reads]
        assert min(readers) < max(writers), topic.entity


@pytest.mark.parametrize("topic", LIVE_TOPICS, ids=lambda topic: topic.entity)
def test_every_topic_has_a_writer_and_a_reader(topic: Topic) -> None:
    writers = [s for s in STAGES.values() if topic in s.writes or (s.writes_replies and topic is REPLIES_DEFAULT)]
    assert writers or topic in (*WRITTEN_OUTSIDE, *WRITTEN_BY_OPERATORS)
    assert any(topic in stage.reads for stage in STAGES.values()) or topic in READ_OUTSIDE


def test_stages_name_declared_topics_only() -> None:
    used = {topic for stage in STAGES.values() for topic in (*stage.reads, *stage.writes)}
    assert used | set(READ_OUTSIDE) | set(WRITTEN_OUTSIDE) | set(WRITTEN_BY_OPERATORS) == set(LIVE_TOPICS)


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_the_folder_says_what_it_reads_and_writes(stage: Stage) -> None:
    text = ast.get_docstring(ast.parse((folder(stage) / "__init__.py").read_text()))
    assert text, f"{stage.name}: no docstring"
    for word in ("reads", "writes", "state"):
        assert word in text.lower(), f"{stage.name}: the docstring does not say {word}"


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_the_code_names_the_topics_of_the_table(stage: Stage) -> None:
    """Topic constants that the stage's code mentions are those it is declared to read or write, no more."""
    constants = {name: _topics(value) for name, value in vars(schemas.topics).items() if _topics(value)}
    mentioned: set[str] = set()
    for file in folder(stage).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
            if name in constants and name != "LIVE_TOPICS":
                mentioned.add(name)
    declared = {*stage.reads, *stage.writes}
    undeclared = {name for name in mentioned if not constants[name] & declared}
    assert not undeclared, f"{stage.name} uses {sorted(undeclared)}, which ops/stages.py does not list"
    unused = {topic.entity for topic in declared - set().union(*(constants[name] for name in mentioned))}
    assert not unused, f"ops/stages.py lists {sorted(unused)} for {stage.name}, whose code names no such topic"


def _topics(value: object) -> frozenset[Topic]:
    if isinstance(value, Topic):
        return frozenset((value,))
    if isinstance(value, dict) and all(isinstance(topic, Topic) for topic in value.values()):
        return frozenset(value.values())
    return frozenset()


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_the_entry_can_be_loaded(stage: Stage) -> None:
    assert callable(load(stage.entry))


def test_the_table_imports_no_stage() -> None:
    """Listing stages must not cost the import of torch."""
    source = Path(importlib.import_module("ops.stages").__file__ or "").read_text()
    modules = [n.module for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom)]
    assert not [m for m in modules if m and m.startswith(("stream_processors", "gpu_consumers", "producers"))]
