"""New projects: from a template, or as a copy of a shipped example."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from headrace.errors import UsageError

_STREAM: Final = "events"

_CONFIG: Final = """\
# headrace.toml: where records come from and where they go. Any value can also come from the
# environment (HEADRACE_LAKE__URI) or from .env; {{ env = "NAME" }} stands for a variable.
[project]
name = "{name}"
# The first date of the data; events before it are quarantined. A contract can have its own.
first_date = 2000-01-01

[lake]
uri = "./lake"               # or "s3://bucket/prefix"

# [broker]                   # left out: the embedded one
# bootstrap_servers = "redpanda:9092"

[sources.inbox]
kind = "files"
path = "inbox"
stream = "{stream}"
"""

_GITIGNORE: Final = """\
.headrace/
lake/
.env
"""

_ENV_EXAMPLE: Final = """\
# Copy to .env for secrets and overrides; .env is never committed.
# HEADRACE_LAKE__URI=s3://lake/shop
"""

# What an example keeps beside its code but a project of a user's own has no use for.
_NOT_COPIED: Final = frozenset({"__init__.py", "__pycache__"})


def default_stream() -> str:
    """The stream of a new project's one source."""
    return _STREAM


def project_name(folder: Path) -> str:
    """A valid project name from a folder's: `My shop-2` becomes `my_shop_2`."""
    name = re.sub(r"[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_")
    return name if name[:1].isalpha() else f"p_{name}".rstrip("_")


def create_project(folder: Path) -> None:
    """Write a new project's files; raises `UsageError` where there is a project already."""
    _refuse_existing(folder)
    _write(
        folder,
        {
            "headrace.toml": _CONFIG.format(name=project_name(folder), stream=_STREAM),
            ".gitignore": _GITIGNORE,
            ".env.example": _ENV_EXAMPLE,
        },
    )
    for name in ("inbox", "streams", "gold"):
        (folder / name).mkdir(exist_ok=True)


def example_names() -> list[str]:
    """The examples that ship with headrace."""
    return sorted(
        entry.name
        for entry in files("headrace.examples").iterdir()
        if entry.is_dir() and entry.joinpath("headrace.toml").is_file()
    )


def copy_example(name: str, folder: Path) -> None:
    """Copy a shipped example to `folder`; raises `UsageError` where it cannot."""
    if name not in example_names():
        raise UsageError(
            f"there is no example {name!r}", remedy=f"shipped are: {', '.join(example_names())}"
        )
    _refuse_existing(folder)
    _copy(files("headrace.examples").joinpath(name), folder)


def _refuse_existing(folder: Path) -> None:
    if (folder / "headrace.toml").exists():
        raise UsageError(
            f"{folder.resolve()} is a headrace project already: nothing was changed",
            remedy="choose another folder, or use the project as it is",
        )


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            path = folder / name
            if not path.exists():
                path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write a project to {folder}: {error.strerror}") from error


def _copy(source: Traversable, target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
        for entry in source.iterdir():
            if entry.name in _NOT_COPIED:
                continue
            if entry.is_dir():
                _copy(entry, target / entry.name)
            elif not (target / entry.name).exists():
                (target / entry.name).write_bytes(entry.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot write a project to {target}: {error.strerror}") from error
