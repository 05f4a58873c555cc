"""What a watched prefix of an object store may be told, and a folder may not: and the reverse."""

from __future__ import annotations

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
