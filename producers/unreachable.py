"""That a source cannot be asked now: a folder or a store that is away, keys that are refused."""

from __future__ import annotations

from headrace.errors import HeadraceError


class SourceUnreachableError(HeadraceError):
    """Nothing can be had from a source now; what there is of it is found the next time.

    Other sources go on. Names the source.
    """
