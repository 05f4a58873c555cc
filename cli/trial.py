"""A source tried without publishing: what it has, and what would be wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from headrace.cli.output import count
from headrace.config import Config
from headrace.config_api import ApiSource
from headrace.config_files import FileSource
from headrace.config_webhook import WebhookSource
from headrace.errors import REMEDY_BEGINS, UsageError
from headrace.object_place import is_object_place

# So many names are said of those that no pattern matches.
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Said:
    """One thing to tell of a source.

    `is_problem`: it is not as it has to be; `is_doubtful`: it may be meant so, or not.
    """

    text: str
    is_problem: bool = False
    is_doubtful: bool = False


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

            yield from try_files(config, name, source, most_files)
        case ApiSource():
            from headrace.cli.trial_api import try_api

            yield from try_api(config, name, source)
        case WebhookSource():
            from headrace.cli.trial_webhook import try_webhook

            yield from try_webhook(config, name, source)


@contextmanager
def trial_folder(config: Config) -> Iterator[Path]:
    """A folder for what a trial unpacks, gone with it; raises `UsageError` where there is none."""
    scratch = config.paths.scratch
    with ExitStack() as stack:
        try:
            scratch.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(TemporaryDirectory(dir=scratch))
        except OSError as error:
            raise UsageError(
                f"{error.filename or scratch} cannot be written: {error.strerror or error}",
                remedy=f"give whoever runs headrace the right to write below {config.root}, or make"
                " room there",
            ) from error
        yield Path(folder)


def missed(what: str, names: Sequence[str]) -> Said:
    """That no pattern matches these, of which there is at least one; `what`: files, or members."""
    text = f"  {count(len(names), what)} {'match' if len(names) > 1 else 'matches'} no pattern:"
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return Said(f"{text} {', '.join(names[:_NAMED])}{more}", is_doubtful=True)


def cannot_be_read(error: OSError) -> str:
    """Why a file or a folder cannot, and what to do about it where that is known."""
    text = f"cannot be read: {error.strerror or error}"
    if isinstance(error, PermissionError):
        text += f"{REMEDY_BEGINS}give whoever runs headrace the right to read it"
    return text
