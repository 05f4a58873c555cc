"""Each kind of fault beyond killed roles, by itself: after it every record is there once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from faults.fault_kinds import FAULTS
from faults.fault_project import Combo, FaultProject
from faults.role_faults import ROLE_FAULTS
from faults.source_files import SourceFiles

_KINDS = {kind.name: kind for kind in FAULTS if kind not in ROLE_FAULTS}


@pytest.fixture(scope="module")
def embedded_local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultProject]:
    root = tmp_path_factory.mktemp("faults") / "soak"
    with ExitStack() as stack:
        project = FaultProject(
            root, Combo("embedded", "local"), SourceFiles(root, random.Random(1)), None, ""
        )
        stack.callback(project.stop)
        yield project


@pytest.mark.parametrize("name", _KINDS)
def test_nothing_is_lost_or_doubled_by(name: str, embedded_local: FaultProject) -> None:
    kind, project = _KINDS[name], embedded_local
    if not kind.applies(project):
        pytest.skip()
    project.files.drop()
    kind.strike(project, random.Random(name))
    project.files.drop()
    assert project.settle() is None
