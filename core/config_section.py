"""What all sections of the config share."""

from __future__ import annotations

import re
from typing import Final, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, ValidationInfo, field_validator

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_STEP: Final = r'(?:[A-Za-z_][A-Za-z0-9_]*|"(?:[^"\\]|\\.)+")'
_PATH_OF_NAMES: Final = re.compile(rf"\s*{_STEP}(?:\.{_STEP})*\s*\Z")


def check_name(value: str) -> str:
    """Names become topics, tables and folders: lower case, digits and `_`, a letter first."""
    if not _NAME.match(value):
        raise ValueError(
            "expected a name of lower-case letters, digits and _ that begins with a letter"
        )
    return value


def check_names(value: str | None) -> str | None:
    """A JMESPath of names alone, with dots between."""
    if value is not None and not _PATH_OF_NAMES.match(value):
        raise ValueError("expected a path of names such as hourly or data.hourly")
    return value


def _kind_of(value: object) -> object:
    return value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)


# Between tables that say what they are by their `kind`, each with that as its `Tag`. (A plain
# discriminator does not go together with `Section`'s validator of all fields.)
BY_KIND: Final = Discriminator(_kind_of)


class Section(BaseModel):
    """A table of the config: unknown keys are refused, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        """Pydantic takes true for 1: somebody's `keep = true` would be a second."""
        field = cls.model_fields.get(info.field_name or "")
        if isinstance(value, bool) and field is not None and not _takes_boolean(field.annotation):
            raise ValueError(f"expected something else than {str(value).lower()}")
        return value


def _takes_boolean(annotation: object) -> bool:
    return annotation is bool or any(_takes_boolean(part) for part in get_args(annotation))
