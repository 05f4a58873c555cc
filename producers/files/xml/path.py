"""The path to the records of an XML document, such as `/rss/channel/item` or `//item`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class XmlPath:
    """Names from the root on, or (`anywhere`) the last ones before the record; `*` is any name.

    Names are compared without their namespace. A record is never looked for inside another.
    """

    names: tuple[str, ...]
    anywhere: bool = False

    @classmethod
    def parse(cls, text: str) -> XmlPath:
        """Raises ValueError where it is none."""
        anywhere = text.startswith("//")
        names = tuple(text[2 if anywhere else 1 :].split("/"))
        if not text.startswith("/") or not all(map(_is_name, names)):
            raise ValueError(f"expected a path such as /rss/channel/item or //item, found {text!r}")
        return cls(names, anywhere)

    def __str__(self) -> str:
        return ("//" if self.anywhere else "/") + "/".join(self.names)

    def matches(self, stack: Sequence[str]) -> bool:
        """Whether the element at the end of `stack`, the names from the root on, is a record."""
        if len(stack) < len(self.names) if self.anywhere else len(stack) != len(self.names):
            return False
        last = stack[-len(self.names) :]
        return all(name in ("*", found) for name, found in zip(self.names, last, strict=True))

    def can_hold(self, stack: Sequence[str]) -> bool:
        """Whether records would be children of the element at the end of `stack`."""
        return not self.anywhere and XmlPath(self.names[:-1]).matches(stack)


def guess_path(paths: Counter[tuple[str, ...]]) -> str | None:
    """The records' path by what repeats: the outermost path met twice, the most frequent of those.

    `paths` counts the elements of a document's beginning by their names from the root on.
    """
    repeated = [(len(path), -count, path) for path, count in paths.items() if count > 1]
    return "/" + "/".join(min(repeated)[2]) if repeated else None


def _is_name(text: str) -> bool:
    return text == "*" or bool(text and not text[0].isdigit() and not set(text) & set(" []@()'\"*"))
