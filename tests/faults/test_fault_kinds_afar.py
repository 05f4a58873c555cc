"""As in `test_fault_kinds`: what takes Apache Kafka or an object store, on a project with both."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from faults.fault_kinds import FAULTS
from faults.fault_project import Combo, FaultProject
from faults.source_files import SourceFiles
from parts.s3 import s3_server

_KINDS = {kind.name: kind for kind in FAULTS}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultProject]:
    folder = tmp_path_factory.mktemp("faults")
    root = folder / "soak"
    with ExitStack() as stack:
        store = stack.enter_context(s3_server(folder / "s3"))
        store.make_bucket("soak")
        files = SourceFiles(root, random.Random(1))
        project = FaultProject(root, Combo("kafka", "s3"), files, store, "soak")
        stack.callback(project.stop)
        project.files.drop()
        assert project.settle() is None
        yield project


def strike(project: FaultProject, *names: str, kill: Sequence[str] = ()) -> None:
    """Do all of these, and kill these roles; then everything has to heal."""
    for name in names:
        project.files.drop()
        _KINDS[name].strike(project, random.Random(name))
    project.files.drop()
    for role in kill:
        project.kill(role)
    assert project.settle() is None


@pytest.mark.parametrize("what", ["fail", "hang", "part from"])
def test_a_store_that_does_not_answer(what: str, project: FaultProject) -> None:
    assert project.store_proxy is not None
    struck = project.store_proxy.struck
    strike(project, f"{what} the store")
    assert project.store_proxy.struck > struck


def test_a_store_that_commits_and_does_not_say_so(project: FaultProject) -> None:
    assert project.store_proxy is not None
    lost = project.store_proxy.answers_lost
    strike(project, "lose the store's answer")
    assert project.store_proxy.answers_lost > lost


def test_a_store_that_is_killed(project: FaultProject) -> None:
    strike(project, "kill the store")


@pytest.mark.parametrize("kind", ["cut", "part", "hang", "silence answers", "slow", "half open"])
def test_the_network_between_a_consumer_and_the_store(kind: str, project: FaultProject) -> None:
    strike(project, f"{kind}: consume-store")


@pytest.mark.parametrize("what", ["cut a log's tail (Kafka)", "recreate a topic", "expire records"])
def test_what_kafka_held_is_gone(what: str, project: FaultProject) -> None:
    strike(project, what)


def test_a_topic_that_gets_more_partitions(project: FaultProject) -> None:
    strike(project, "add topic partitions")


def test_connections_whose_other_end_is_gone_without_a_word(project: FaultProject) -> None:
    # By itself a client notices after its time-out, 40 s; here somebody is impatient with it.
    kind = "half open, server gone"
    struck = project.broker_proxy.struck
    strike(
        project,
        *(f"{kind}: {pair}" for pair in ("produce-broker", "consume-broker", "consume-store")),
        kill=["produce", "consume-1"],
    )
    assert project.broker_proxy.struck >= struck + 2


def test_verify_agrees_and_no_role_printed_a_traceback(project: FaultProject) -> None:
    checked = project.check()
    assert (checked.lost, checked.doubled) == (0, 0)
    assert checked.problems == ()
    assert checked.flaws == ()
