"""What a watched prefix of an object store may be told, and a folder may not: and the reverse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from headrace.object_place import is_object_place, object_place
from headrace.storage_options import storage_options

if TYPE_CHECKING:
    from headrace.config_files import FileSource


def check_objects(source: FileSource) -> None:
    """Raise `ValueError` where a key of the source is not for the kind of place its path is."""
    if is_object_place(source.path):
        _check_prefix(source)
        return
    if source.options:
        raise ValueError("`options` are for a path such as s3://bucket/prefix")
    if source.listing != "whole":
        raise ValueError(f'`listing = "{source.listing}"` is for a path such as s3://bucket/prefix')
    if source.move_to is not None and is_object_place(source.move_to):
        raise ValueError("`move_to` of a folder is a folder, as no object store is")


def found_again(
    sources: Mapping[str, FileSource], lake_uri: str, lake_options: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Sources that would take for deliveries what headrace itself writes, each with what that is.

    That is the lake, or what another source moves.
    """
    prefixes = {name: s for name, s in sources.items() if is_object_place(s.path)}
    for name, source in prefixes.items():
        place = object_place(source.path)
        written = [(f"the lake ({lake_uri})", lake_uri, lake_options)]
        written += [
            (f"what sources.{other} moves ({of.move_to})", of.move_to, of.options)
            for other, of in prefixes.items()
            if of.move_to is not None
        ]
        for what, uri, options in written:
            if is_object_place(uri) and place.holds(object_place(uri)):
                stores = [storage_options(each).endpoint for each in (source.options, options)]
                if stores[0] == stores[1]:
                    yield name, what


def _check_prefix(source: FileSource) -> None:
    place = object_place(source.path)
    storage_options(source.options)
    if source.follow:
        raise ValueError(
            "`follow = true` is for folders: an object does not grow, it is put again as a whole;"
            " one that begins with what it was takes the place of that"
        )
    if source.watch == "events":
        raise ValueError(
            '`watch = "events"` is for folders: a store is listed every `[produce] scan_every`'
        )
    if source.listing == "ordered" and source.marker is not None:
        raise ValueError(
            '`listing = "ordered"` and `marker` do not go together: a marker such as _SUCCESS'
            " comes after objects whose names are greater"
        )
    if source.move_to is None:
        return
    if not is_object_place(source.move_to):
        raise ValueError("`move_to` of s3://bucket/prefix is a prefix too, of any bucket")
    if place.holds(object_place(source.move_to)):
        raise ValueError(
            f"`move_to` ({source.move_to}) is below `path` ({source.path}): what is moved would be"
            " found again"
        )
