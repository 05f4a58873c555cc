"""`headrace contract`: a contract proposed from data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from headrace.cli.options import project_option

if TYPE_CHECKING:
    from headrace.config import Config
    from headrace.config_files import FileSource
    from headrace.producers.folders.scan import FileStat
    from headrace.producers.inference.proposal import ContractProposal

# Above this the first date comes from the sample alone: reading everything would take minutes.
_READ_WHOLE_BYTES: Final = 4_000_000_000


@click.group(name="contract")
def command() -> None:
    """A stream's contract: its columns, their types, what is required, unique and checked."""


@command.command(
    name="infer",
    epilog="Examples: headrace contract infer events; headrace contract infer events --print",
)
@click.argument("stream")
@click.option("--print", "print_only", is_flag=True, help="Show the proposal, write nothing.")
@click.option("--force", is_flag=True, help="Replace the contract that is there.")
@project_option
def infer(project: Path, stream: str, print_only: bool, force: bool) -> None:
    """Propose STREAM's contract from its sources' files, and the pages of its APIs.

    It is written to streams/STREAM.toml, for you to look over and change; a contract that is
    there already is left alone, and the proposal goes to standard output.
    """
    from headrace.cli.project import open_project
    from headrace.errors import UsageError

    opened = open_project(project)
    config = opened.config
    if stream not in config.stream_names:
        raise UsageError(
            f"there is no stream {stream!r}",
            remedy=f"streams of this project: {', '.join(config.stream_names) or 'none yet'}",
        )
    proposal = _propose(config, stream)
    text = proposal.to_toml()
    path = config.paths.streams / f"{stream}.toml"
    for note in proposal.notes:
        click.echo(f"note: {note}", err=True)
    if print_only or (path.exists() and not force):
        click.echo(text, nl=False)
        if not print_only:
            click.echo(
                f"streams/{stream}.toml is there already and was left alone; --force replaces it",
                err=True,
            )
        return
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    click.echo(text)
    click.echo(f"wrote streams/{stream}.toml; look it over, then: headrace run", err=True)
    if opened.lake.open("bronze", stream) is not None:
        click.echo(
            "what has landed before keeps the event time it was read with then; new arrivals are"
            " read by the new rule",
            err=True,
        )


def _propose(config: Config, stream: str) -> ContractProposal:
    from dataclasses import replace

    from headrace.cli.trial import cannot_be_read, trial_folder
    from headrace.cli.trial_archive import files_in
    from headrace.config_api import ApiSource
    from headrace.errors import UsageError
    from headrace.object_place import is_object_place
    from headrace.producers.api.spooled_pages import spooled_pages
    from headrace.producers.folders.scan import WantedNames
    from headrace.producers.folders.watched_folder import FolderAbsentError, WatchedFolder
    from headrace.producers.inference.inference import infer_contract
    from headrace.producers.spooled_files import spooled_files

    with trial_folder(config) as unpacked:
        files: list[tuple[FileStat, FileSource]] = []
        folders = []
        notes: list[str] = []
        for name, source in config.file_sources_of(stream).items():
            if is_object_place(source.path):
                from headrace.cli.trial_objects import first_objects

                folders.append(source.path)
                found, more = first_objects(name, source, unpacked)
                if more:
                    notes.append(
                        f"{source.path}: its first {len(found)} objects were read, and there are"
                        " more: first_date and the types may not fit them"
                    )
            else:
                folder = WatchedFolder(config.root, name, source)
                folders.append(str(folder.path))
                try:
                    survey = folder.survey(WantedNames.of(source))
                except FolderAbsentError as error:
                    notes.append(str(error))
                    continue
                found = list(survey.files)
                notes += [f"{place}: cannot be read: {why}" for place, why in survey.unreadable]
            for stat in found:
                try:
                    files += [(file, source) for file in files_in(stat, source, unpacked)]
                except OSError as error:
                    notes.append(f"{stat.name}: {cannot_be_read(error)}")
            if source.after_landing != "keep":  # of what was there the spool still has some
                there = {stat.name for stat, _ in files}
                files += [
                    (stat, source)
                    for _, stat in spooled_files(config.paths, name)
                    if stat.name not in there
                ]
        for name, polled in config.settings.sources.items():
            if isinstance(polled, ApiSource) and polled.stream == stream:
                folders.append(f"what {name} has been polled for")
                files += spooled_pages(config.paths, name, polled)
        if not files:
            raise UsageError(
                f"no file to propose a contract from in {' or '.join(folders) or 'any source'}"
                + "".join(f"\n{note}" for note in notes),
                remedy="put a file there whose name matches the source's patterns, or let"
                " `headrace run` poll the API first",
            )
        proposal = infer_contract(files, stream, scratch=unpacked / "read")
        proposal = replace(proposal, notes=(*proposal.notes, *notes))
        return _cover_all_dates(proposal, files, unpacked / "read")


def _cover_all_dates(
    proposal: ContractProposal, files: list[tuple[FileStat, FileSource]], scratch: Path
) -> ContractProposal:
    """The proposal with a first date no record of any file is before."""
    from dataclasses import replace

    from headrace.errors import DeliveryRejectedError
    from headrace.event_time import event_date
    from headrace.producers.files.preview import preview

    if sum(stat.size for stat, _ in files) > _READ_WHOLE_BYTES:
        return proposal
    rules = proposal.to_stream()
    first = proposal.first_date
    notes = list(proposal.notes)
    for stat, source in files:
        try:
            found = preview(stat.path, stat.name, source, rules, scratch=scratch)
        except DeliveryRejectedError as error:
            if error.message not in notes:  # the sample has met it before
                notes.append(error.message)
            continue
        day = event_date(found.earliest, rules.zone)
        if day is not None and proposal.event_time.from_ == "column":
            first = min(first, day)
        if found.without_time:
            notes.append(
                f"{stat.name}: {found.without_time:,} of {found.readable:,} records have no event"
                " time that can be read, and would be quarantined"
            )
    return replace(proposal, first_date=first, notes=tuple(dict.fromkeys(notes)))
