"""A source tried without publishing: what it has, and what would be wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from headrace.config import Config
from headrace.config_api import ApiSource
from headrace.config_files import FileSource
from headrace.config_webhook import WebhookSource
from headrace.errors import UsageError
from headrace.object_place import is_object_place


@dataclass(frozen=True, slots=True)
class Said:
    """One thing to tell of a source; `is_problem`: it is not as it has to be."""

    text: str
    is_problem: bool = False


def try_source(config: Config, name: str, *, most_files: int) -> Iterator[Said]:
    """Try the source of that name; nothing is published and nothing recorded.

    Raises `UsageError` where there is none, or where it cannot be tried at all.
    """
    source = config.settings.sources.get(name)
    match source:
        case None:
            names = ", ".join(config.settings.sources) or "none yet"
            raise UsageError(
                f"there is no source {name!r}", remedy=f"sources of this project: {names}"
            )
        case FileSource() if is_object_place(source.path):
            from headrace.cli.trial_objects import try_objects

            yield from try_objects(config, name, source, most_files)
        case FileSource():
            from headrace.cli.trial_files import try_files

            yield from try_files(config, source, most_files)
        case ApiSource():
            from headrace.cli.trial_api import try_api

            yield from try_api(config, name, source)
        case WebhookSource():
            from headrace.cli.trial_webhook import try_webhook

            yield from try_webhook(config, name, source)
