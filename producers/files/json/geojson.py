"""GeoJSON (RFC 7946): a FeatureCollection is found by itself, and its features are the records."""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from typing import Final

from headrace.producers.files.first_look import Look
from headrace.producers.files.json.place import PlacedRecords

FEATURES: Final = "features"
_COLLECTION: Final = b'"FeatureCollection"'


def holds_features(look: Look) -> bool:
    """Whether a JSON file's first document is a FeatureCollection.

    By its member `type`, wherever in the file's beginning that stands; where it is named
    `.geojson`, by its member `features` as well, as the type may stand behind those.
    """
    kind = next(iter(PlacedRecords(io.BytesIO(look.text), ("type",))), None)
    if kind is not None and kind.data is not None:
        return kind.data == _COLLECTION
    if PurePosixPath(look.bare_name).suffix.lower() != ".geojson":
        return False
    placed = PlacedRecords(io.BytesIO(look.text), (FEATURES,))
    return next(iter(placed), None) is not None and placed.found
