"""Every folder with code is installed, the examples with it, and the lock is this project's."""

from __future__ import annotations

import hashlib
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

NOT_INSTALLED = {"tests", "benchmarks", "docs"}


@pytest.fixture(scope="module")
def pyproject(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text())


def code_folders(repository: Path) -> set[str]:
    """Folders below the repository that hold Python files, without tests and what is made."""
    return {
        relative.as_posix()
        for path in repository.glob("[a-z]*/**/*.py")
        for relative in [path.parent.relative_to(repository)]
        if relative.parts[0] not in NOT_INSTALLED | {"build", "headrace-demo"}
    }


def test_every_folder_with_code_is_installed(repository: Path, pyproject: dict[str, Any]) -> None:
    setuptools = pyproject["tool"]["setuptools"]
    folders: dict[str, str] = setuptools["package-dir"]
    assert code_folders(repository) == set(folders.values())
    assert set(setuptools["packages"]) == set(folders)
    for package, folder in folders.items():
        if package != "headrace":
            assert package == "headrace." + folder.replace("/", ".")


def test_every_package_has_an_init(repository: Path, pyproject: dict[str, Any]) -> None:
    for folder in pyproject["tool"]["setuptools"]["package-dir"].values():
        assert (repository / folder / "__init__.py").is_file(), folder


def test_each_dependency_has_its_reason(repository: Path) -> None:
    text = (repository / "pyproject.toml").read_text()
    lists = re.findall(
        r"^(?:dependencies|build|dev) = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL
    )
    lines = [line for block in lists for line in block.splitlines() if line.lstrip()[:1] == '"']
    assert len(lines) > 20
    assert [line for line in lines if not re.search(r'",\s+# \w|^\s+"pytest', line)] == []


def test_examples_are_installed_with_all_their_files(repository: Path) -> None:
    example = files("headrace.examples") / "retail"
    for path in (repository / "examples" / "retail").rglob("*"):
        if path.is_file() and path.name != "__pycache__":
            relative = path.relative_to(repository / "examples" / "retail").as_posix()
            assert (example / relative).read_bytes() == path.read_bytes()


def test_example_data_is_what_its_origin_says(repository: Path) -> None:
    retail = repository / "examples" / "retail"
    lines = [line.split() for line in (retail / "ORIGIN.md").read_text().splitlines()]
    said = {line[1]: line[0] for line in lines if len(line) == 2 and line[1].endswith(".csv")}
    there = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (retail / "inbox").iterdir()
    }
    assert len(there) == 6
    assert there == said


def test_example_data_is_the_shared_data(repository: Path, shared_data: Path) -> None:
    sums = (shared_data / "retail" / "SHA256SUMS").read_text()
    for path in (repository / "examples" / "retail" / "inbox").iterdir():
        assert f"{hashlib.sha256(path.read_bytes()).hexdigest()}  ./by-day/{path.name}" in sums


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-build.txt", "requirements-dev.txt"]
)
def test_the_lock_pins_by_hash_and_names_no_host(repository: Path, name: str) -> None:
    text = (repository / name).read_text()
    assert "://" not in text
    pins = [line for line in text.splitlines() if line and line[0] not in " #"]
    assert pins
    for pin in pins:
        assert re.match(r"[a-z0-9._-]+==\S+( ; .+)? \\$", pin), pin
    hashes = re.findall(r"--hash=(\w+):", text)
    assert len(hashes) >= len(pins)
    assert set(hashes) == {"sha256"}


def test_the_lock_holds_every_dependency(repository: Path, pyproject: dict[str, Any]) -> None:
    def locked(name: str) -> set[str]:
        return set(re.findall(r"^([a-z0-9._-]+)==", (repository / name).read_text(), re.MULTILINE))

    def names(requirements: list[Any]) -> set[str]:
        texts = [text for text in requirements if isinstance(text, str)]
        written = (re.split(r"[^A-Za-z0-9._-]", text)[0].lower() for text in texts)
        return {re.sub(r"[._]", "-", name) for name in written}  # as the lock writes them

    groups = pyproject["dependency-groups"]
    assert names(pyproject["project"]["dependencies"]) <= locked("requirements.txt")
    assert names(groups["build"]) == locked("requirements-build.txt")
    assert names(groups["dev"]) <= locked("requirements-dev.txt")
    assert locked("requirements.txt") <= locked("requirements-dev.txt")
