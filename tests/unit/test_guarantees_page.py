"""docs/guarantees.md names the code of each step and the test of each claim: all of it is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

_LINKED = re.compile(r"\[`([\w/]+\.py)`\]\(\.\./([\w/]+\.py)\)(?:\s+`([\w.]+)`)?")
_METHOD = re.compile(r"`([A-Z]\w+\.\w+)`")
_TEST = re.compile(r"`(test_\w+)`")


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "guarantees.md").read_text()


def names_in(path: Path) -> set[str]:
    """Functions, classes and their methods, as `name` and `Class.name`."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}.{member.name}"
                for member in node.body
                if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return names


def test_each_step_names_code_that_is_there(page: str, repository: Path) -> None:
    linked = _LINKED.findall(page)
    assert len(linked) > 15
    for shown, target, name in linked:
        assert shown == target
        assert (repository / target).is_file(), target
        assert not name or name in names_in(repository / target), f"{target}: {name}"
    known = set().union(*(names_in(repository / target) for _, target, _ in linked))
    assert [name for name in _METHOD.findall(page) if name not in known] == []


def test_each_claim_names_a_test_that_is_there(page: str, repository: Path) -> None:
    tests = set().union(*(names_in(path) for path in (repository / "tests").rglob("test_*.py")))
    named = _TEST.findall(page)
    assert len(named) > 20
    assert [name for name in named if name not in tests] == []
