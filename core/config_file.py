"""Reads a project's config files and says plainly what is wrong with them."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from dotenv import dotenv_values
from pydantic import BaseModel, ValidationError

from headrace.config import ENV_PREFIX, Config, Settings
from headrace.config_objects import found_again
from headrace.config_secrets import EnvironmentValue
from headrace.config_section import check_name
from headrace.config_watched import check_apart, check_move_targets
from headrace.errors import ConfigError, UsageError
from headrace.object_place import is_object_place
from headrace.paths import ProjectPaths
from headrace.stream import Stream

# delta-rs takes these for patterns and escapes: it panics, or writes somewhere else.
_NOT_IN_LAKE_URI: Final = frozenset("[]%")


def project_paths(root: Path) -> ProjectPaths:
    """Where the project at `root` keeps what. Raises `UsageError` where there is no project."""
    paths = ProjectPaths(root.resolve())
    if not paths.config.is_file():
        raise UsageError(
            f"no headrace project in {root}: there is no headrace.toml",
            remedy="make one with `headrace init`, or name its folder with --project DIR",
        )
    return paths


def load_config(root: Path) -> Config:
    """Read and check the whole project at `root`; every problem found is in the one error.

    Raises `UsageError` where there is no project, `ConfigError` where it is wrong.
    """
    paths = project_paths(root)
    problems: list[str] = []
    with _environment(root / ".env") as environment:
        settings = _load_settings(paths.config, environment, problems)
        streams = _load_streams(paths.streams, environment, problems)
    if problems or settings is None:
        raise ConfigError("\n".join(problems))
    config = Config(root=paths.root, settings=settings, streams=streams)
    _check_links(config)
    _check_lake(config)
    return config


def _check_links(config: Config) -> None:
    """What the settings said of their folders as text, of where those are by now."""

    def resolved(folder: str) -> str:
        return os.path.realpath(config.root / folder)

    try:
        check_apart(config.file_sources, resolved)
        check_move_targets(config.file_sources, resolved)
    except ValueError as error:
        raise ConfigError(f"headrace.toml: sources: {error} (links are followed)") from None


def _check_lake(config: Config) -> None:
    lake = Path(config.lake_uri)
    for name, source in config.file_sources.items():
        if is_object_place(source.path):
            continue
        folder = Path(os.path.realpath(config.root / source.path))  # a link to itself is one
        if "://" not in config.lake_uri and lake.is_relative_to(folder):
            raise ConfigError(
                f"headrace.toml: sources.{name}.path: {folder} holds the lake ({lake}), whose own"
                " files would be taken for deliveries",
                remedy="watch a folder of its own, such as inbox",
            )
    lake_options = config.settings.lake.options
    for name, what in found_again(config.file_sources, config.lake_uri, lake_options):
        raise ConfigError(
            f"headrace.toml: sources.{name}.path: {what} is below"
            f" {config.file_sources[name].path}, and would be taken for deliveries",
            remedy="watch a prefix of its own, such as s3://bucket/inbox",
        )
    found = sorted(_NOT_IN_LAKE_URI & set(config.lake_uri))
    if found:
        raise ConfigError(
            f"headrace.toml: lake.uri: {config.lake_uri} has {' '.join(found)} in it, which the"
            " tables' names in a log cannot have",
            remedy="choose a folder without [ ] and % in its path, by [lake] uri",
        )


@contextmanager
def _environment(dotenv: Path) -> Iterator[Mapping[str, str]]:
    """The environment with what `.env` adds to it, for as long as the config is read."""
    added = {
        name: value
        for name, value in (dotenv_values(dotenv) if dotenv.is_file() else {}).items()
        if value is not None and name not in os.environ
    }
    os.environ.update(added)
    try:
        yield os.environ
    finally:
        for name in added:
            os.environ.pop(name, None)


def _load_settings(
    path: Path, environment: Mapping[str, str], problems: list[str]
) -> Settings | None:
    table = _read_toml(path, environment, problems)
    if table is None:
        return None
    for name in environment:
        if name.startswith(ENV_PREFIX) and "__" in name:
            section = name.removeprefix(ENV_PREFIX).split("__")[0].lower()
            if section not in Settings.model_fields:
                hint = _nearest(section, list(Settings.model_fields))
                problems.append(f"environment: {name}: unknown section {section!r}{hint}")
    try:
        return Settings(**table)
    except ValidationError as error:
        problems.extend(_explain(error, path.name, Settings, table))
        return None


def _load_streams(
    folder: Path, environment: Mapping[str, str], problems: list[str]
) -> dict[str, Stream]:
    streams = {}
    for path in sorted(folder.glob("*.toml")):
        where = f"{folder.name}/{path.name}"
        try:
            name = check_name(path.stem)
        except ValueError as error:
            problems.append(f"{where}: the file's name is the stream's: {error}")
            continue
        table = _read_toml(path, environment, problems, where)
        if table is None:
            continue
        try:
            streams[name] = Stream.model_validate(table)
        except ValidationError as error:
            problems.extend(_explain(error, where, Stream, table))
    return streams


def _read_toml(
    path: Path, environment: Mapping[str, str], problems: list[str], where: str | None = None
) -> dict[str, Any] | None:
    where = where or path.name
    try:
        table = tomllib.loads(path.read_bytes().decode())
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{where}: not valid TOML: {error}")
        return None
    except UnicodeDecodeError:
        problems.append(f"{where}: not UTF-8 text, as TOML has to be")
        return None
    except OSError as error:
        problems.append(f"{where}: cannot be read: {error.strerror}")
        return None
    before = len(problems)
    resolved = _resolve(table, environment, where, (), problems)
    return resolved if len(problems) == before else None


def _resolve(
    value: Any,
    environment: Mapping[str, str],
    where: str,
    path: tuple[str, ...],
    problems: list[str],
) -> Any:
    """Put variables in the place of `{ env = "NAME" }`."""
    if isinstance(value, dict):
        if set(value) == {"env"} and isinstance(value["env"], str):
            name = value["env"]
            if name not in environment:
                problems.append(
                    f"{where}: {'.'.join(path)}: the environment variable {name} is not set"
                    f" (set it, or put {name}=... into .env)"
                )
            return EnvironmentValue(environment.get(name, ""))
        return {k: _resolve(v, environment, where, (*path, k), problems) for k, v in value.items()}
    if isinstance(value, list):
        return [_resolve(item, environment, where, path, problems) for item in value]
    return value


def _explain(
    error: ValidationError, where: str, model: type[BaseModel], table: Mapping[str, Any]
) -> Iterator[str]:
    for detail in error.errors(include_url=False):
        location = _without_kinds(table, detail["loc"])
        key = ".".join(str(part) for part in location) or "(file)"
        origin = (
            where if _present(table, location) or detail["type"] == "missing" else "environment"
        )
        if detail["type"] == "extra_forbidden":
            hint = _nearest(str(location[-1]), _keys_at(model, detail["loc"][:-1]))
            yield f"{origin}: {key}: unknown key{hint}"
        elif detail["type"] == "union_tag_not_found":
            yield f"{where}: {key}.kind: missing, and it has no default"
        elif detail["type"] == "union_tag_invalid":
            context = detail.get("ctx", {})
            expected = [tag.strip("' ") for tag in context.get("expected_tags", "").split(",")]
            found = context.get("tag", "")
            yield (
                f"{origin}: {key}.kind: expected one of: {', '.join(expected)} (found {found!r})"
                f"{_nearest(found, expected)}"
            )
        elif detail["type"] == "missing":
            yield f"{where}: {key}: missing, and it has no default"
        else:
            message = detail["msg"].removeprefix("Value error, ")
            found = detail["input"]
            shown = f" (found {found!r})" if isinstance(found, str | int | float | bool) else ""
            if isinstance(found, EnvironmentValue):  # it may be a secret
                shown = " (found in the environment)"
            if detail["type"] == "literal_error" and isinstance(found, str):
                options = detail.get("ctx", {}).get("expected", "")
                shown += _nearest(
                    found, [o.strip("' ") for o in options.replace(" or ", ",").split(",")]
                )
            yield f"{origin}: {key}: {message[0].lower()}{message[1:]}{shown}"


def _without_kinds(table: Any, location: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Where in the file an error is: without the steps pydantic takes into a kind of table."""
    kept: list[str | int] = []
    for part in location:
        if isinstance(table, dict) and part not in table and table.get("kind") == part:
            continue
        kept.append(part)
        if isinstance(table, dict):
            table = table.get(part)
        elif isinstance(table, list) and isinstance(part, int) and part < len(table):
            table = table[part]
        else:
            table = None
    return tuple(kept)


def _present(table: Any, location: tuple[str | int, ...]) -> bool:
    for part in location:
        if isinstance(table, list) and isinstance(part, int):
            table = dict(enumerate(table))
        if not isinstance(table, dict):
            return True  # pydantic adds steps of its own (a union's member) below a key
        if part not in table:
            return False
        table = table[part]
    return True


def _keys_at(annotation: Any, path: tuple[str | int, ...]) -> list[str]:
    """The keys that are valid in the table at `path` below a model; empty where any is.

    `path` is pydantic's: into a union it goes by the kind.
    """
    for key in path:
        while get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        elif get_origin(annotation) in (Union, UnionType):
            annotation = _of_kind(annotation, str(key))
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = annotation.model_fields.get(str(key))
            if field is None:
                return []
            annotation = field.annotation
        else:
            return []
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return []
    return [field.alias or name for name, field in annotation.model_fields.items()]


def _of_kind(union: Any, kind: str) -> Any:
    for option in get_args(union):
        member = get_args(option)[0] if get_origin(option) is Annotated else option
        field = member.model_fields.get("kind") if hasattr(member, "model_fields") else None
        if field is not None and kind in get_args(field.annotation):
            return member
    return None


def _nearest(word: str, valid: list[str]) -> str:
    if not valid:
        return ""
    close = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; expected one of: {', '.join(sorted(valid))}"
