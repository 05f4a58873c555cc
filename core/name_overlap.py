"""Whether two sources would take the same file: the languages of their patterns, intersected.

A source's rules for names are a finite automaton. Two of them are walked together, breadth first,
until a name is found that both take, which is a shortest one, or there are no further states. Of
the patterns one place in one of them is followed at a time, so that wildcards do not multiply; what
is ignored has to be known whole, as it speaks against a name.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import translate
from functools import cache
from glob import escape
from itertools import product
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from headrace.config_files import FileSource

# What editors, browsers and copying tools call a file they have not finished: never taken.
UNFINISHED: Final = ("~", ".tmp", ".part", ".partial", ".crdownload", ".download", ".swp")
# How Excel's lock begins, which lies beside a workbook as long as somebody has it open: nor that.
LOCK: Final = "~$"

# No config that a person writes needs half of it: `ignore` of wildcards behind wildcards, such
# as `*a??????????????`, would have a state for each set of the places they may have reached.
_MAX_STATES: Final = 50_000
# As fnmatch reads them: a `]` at once in a set is of the set.
_TOKEN: Final = re.compile(r"\[!?+\]?+[^\]]*+\]|.", re.DOTALL)
_STAR: Final = "*"
_END: Final = ""


class NameState(NamedTuple):
    """One way to read a name up to some character.

    `place`: reached in the patterns; `ignored_own`, `ignored_whole`, `refused`: all that are
    reached in what speaks against it. `begins`: a file's or a folder's own name begins here.
    """

    place: int
    ignored_own: int
    ignored_whole: int
    refused: int
    begins: bool = True


_Pair: TypeAlias = tuple[NameState, NameState]


def name_of_both(
    one: NameRules, other: NameRules, folder: str = "", max_states: int = _MAX_STATES
) -> str | None:
    """A shortest name that both take, relative to the other's folder; None where there is none.

    `folder`: of the other below that of the one, as `a/b`; empty where it is the same. None as well
    where it could not be said within `max_states` states.
    """
    one, other = one.beside(other), other.beside(one)
    if not (one.patterns and other.patterns):
        return None
    alphabet = _alphabet((one, other))
    reached: dict[_Pair, tuple[_Pair, str] | None]
    reached = dict.fromkeys(product(one.entered(folder), other.start))
    pending = deque(reached)
    while pending and len(reached) <= max_states:
        both = pending.popleft()
        if one.take_at(both[0]) and other.take_at(both[1]):
            return _spelt(both, reached)
        for char in alphabet:
            if char == "/" and both[1].begins:
                continue
            for after in product(one.step(both[0], char), other.step(both[1], char)):
                if after not in reached:
                    reached[after] = (both, char)
                    pending.append(after)
    return None


class NameRules:
    """Which names a source takes, character by character; as `WantedNames` of the producers."""

    def __init__(
        self,
        patterns: Sequence[str],
        *,
        ignore: Sequence[str] = (),
        recursive: bool = True,
        marker: str | None = None,
    ) -> None:
        self.patterns, self._ignore = tuple(patterns), tuple(ignore)
        self._marker = marker
        own, whole = _split(patterns)
        self._wanted = _Globs([*own, *whole])
        self._of_own = (1 << len(_Globs(own).tokens)) - 1
        # Where a name is whose last part is yet to come: that alone is matched with these.
        self._before_own = 1 << len(self._wanted.tokens)
        self._ignored_own, self._ignored_whole = map(_Globs, _split(ignore))
        refused = [f"*{ending}" for ending in UNFINISHED]
        if marker is not None:
            refused.append((_STAR if marker.startswith(".") else "") + escape(marker))
        self._refused = _Globs(
            [
                *(glob for glob in refused if any(_may_end_alike(glob, one) for one in patterns)),
                *([f"{LOCK}*"] if any(map(_may_be_a_lock, patterns)) else []),
            ]
        )
        self._recursive = recursive
        self._steps: dict[tuple[NameState, str], tuple[NameState, ...]] = {}
        self.start = self._states(
            self._wanted.start | self._before_own,
            self._ignored_own.start,
            self._ignored_whole.start,
            self._refused.start,
        )

    @classmethod
    def of(cls, source: FileSource) -> NameRules:
        """Those of a source."""
        return cls(
            source.patterns, ignore=source.ignore, recursive=source.recursive, marker=source.marker
        )

    def beside(self, other: NameRules) -> NameRules:
        """These without the patterns that plainly meet none of the other's: most of them do not.

        Nor those that the other one ignores by the same words.
        """
        left = [
            one
            for one in self.patterns
            if any(_may_end_alike(one, its) for its in other.patterns)
            and ("/" in one or one not in other._ignore)
        ]
        return NameRules(left, ignore=self._ignore, recursive=self._recursive, marker=self._marker)

    @property
    def globs(self) -> tuple[_Globs, ...]:
        """All that decide."""
        return (self._wanted, self._ignored_own, self._ignored_whole, self._refused)

    def entered(self, folder: str) -> tuple[NameState, ...]:
        """Where names in a folder below (`a/b`; empty: its own) begin; none: not looked into."""
        return self._after(f"{folder}/" if folder else "")

    def take(self, name: str) -> bool:
        """Whether a file of this name is taken."""
        return any(map(self.take_at, self._after(name)))

    def take_at(self, state: NameState) -> bool:
        """Whether a file is taken whose name ends here."""
        return (
            self._wanted.accept(1 << state.place)
            and not state.begins
            and not self._refused.accept(state.refused)
            and not self._ignores(state)
        )

    def step(self, state: NameState, char: str) -> tuple[NameState, ...]:
        """The ways to read one character more; none where no name that goes on so is taken."""
        found = self._steps.get((state, char))
        if found is None:
            found = self._steps[state, char] = self._step(state, char)
        return found

    def _step(self, state: NameState, char: str) -> tuple[NameState, ...]:
        place = 1 << state.place
        places = self._wanted.step(place, char)
        ignored_whole = self._ignored_whole.step(state.ignored_whole, char)
        if char == "/":
            if not self._recursive or self._ignores(state):
                return ()
            places &= ~self._of_own
            if place == self._before_own:
                places |= place | (self._wanted.start & self._of_own)
            own, refused = self._ignored_own.start, self._refused.start
            return self._states(places, own, ignored_whole, refused)
        if char == "." and state.begins:
            return ()
        return self._states(
            place if place == self._before_own else places,
            self._ignored_own.step(state.ignored_own, char),
            ignored_whole,
            self._refused.step(state.refused, char),
            begins=False,
        )

    def _states(
        self, places: int, own: int, whole: int, refused: int, *, begins: bool = True
    ) -> tuple[NameState, ...]:
        return tuple(NameState(place, own, whole, refused, begins) for place in _bits(places))

    def _after(self, name: str) -> tuple[NameState, ...]:
        states: Iterable[NameState] = self.start
        for char in name:
            states = {after for state in states for after in self.step(state, char)}
        return tuple(states)

    def _ignores(self, state: NameState) -> bool:
        return self._ignored_own.accept(state.ignored_own) or self._ignored_whole.accept(
            state.ignored_whole
        )


class _Globs:
    """Some globs side by side; a state has a bit for each place in one that a name has reached."""

    def __init__(self, globs: Iterable[str]) -> None:
        self.tokens: list[str] = []
        self._stars = self._ends = begins = 0
        for glob in globs:
            begins |= 1 << len(self.tokens)
            for token in (*_TOKEN.findall(glob), _END):
                self._stars |= (token == _STAR) << len(self.tokens)
                self._ends |= (token == _END) << len(self.tokens)
                self.tokens.append(token)
        self.start = self._past_stars(begins)
        self._matching: dict[str, int] = {}

    def step(self, state: int, char: str) -> int:
        """The places reached one character on."""
        if not state:
            return 0
        return self._past_stars(((state & self.matching(char)) << 1) | (state & self._stars))

    def accept(self, state: int) -> bool:
        """Whether a glob ends here."""
        return bool(state & self._ends)

    def matching(self, char: str) -> int:
        """The places that a character leads on from."""
        found = self._matching.get(char)
        if found is None:
            found = sum(
                1 << place
                for place, token in enumerate(self.tokens)
                if token not in (_END, _STAR) and _matcher(token)(char)
            )
            self._matching[char] = found
        return found

    def _past_stars(self, state: int) -> int:
        while (wider := state | ((state & self._stars) << 1)) != state:
            state = wider
        return state


def _split(globs: Iterable[str]) -> tuple[list[str], list[str]]:
    """Those of a file's own name, and, with a `/`, of the whole one."""
    known = list(globs)
    whole = [glob.removeprefix("./") for glob in known if "/" in glob]
    return [glob for glob in known if "/" not in glob], whole


def _may_end_alike(one: str, other: str) -> bool:
    """Whether the same name may match both, as far as the characters say that they end with."""
    ends = zip(reversed(_TOKEN.findall(one)), reversed(_TOKEN.findall(other)), strict=False)
    for first, second in ends:
        if _STAR in (first, second):
            return True
        if len(first) == len(second) == 1 and not (_matcher(first)(second) or second == "?"):
            return False
    return True


def _may_be_a_lock(glob: str) -> bool:
    """Whether a lock's name may match, as far as the first character that a glob says shows."""
    if "/" in glob:  # any wildcard may stand for a `/` too
        return LOCK[0] in glob or not set(glob).isdisjoint("*?[")
    return glob.startswith(("*", "?", "[", LOCK[0]))


def _bits(state: int) -> Iterator[int]:
    """The places in a state."""
    while state:
        lowest = state & -state
        yield lowest.bit_length() - 1
        state ^= lowest


@cache
def _matcher(token: str) -> Callable[[str], object]:
    """What decides of one character: `fnmatch` itself, in any case."""
    return re.compile(translate(token), re.IGNORECASE).match


def _alphabet(rules: Iterable[NameRules]) -> list[str]:
    """Of the characters that all of them treat alike, one, the most readable; `/` and `.` too."""
    globs = [one for rule in rules for one in rule.globs]
    mentioned = {char for one in globs for token in one.tokens for char in token} | set("/.")
    cases = {case for char in mentioned for case in (char, *char.lower(), *char.upper())}
    # Between two ends of ranges lies what is right behind the first.
    near = {ord(char) + step for char in cases for step in (-1, 0, 1)}
    candidates = {chr(code) for code in near if 0 < code < 0x110000} | set("x0")
    kinds: dict[tuple[object, ...], str] = {}
    for char in sorted(candidates, key=_readable_first):
        own = char if char in "/." else ""
        kinds.setdefault((own, *(one.matching(char) for one in globs)), char)
    return list(kinds.values())


def _readable_first(char: str) -> tuple[bool, bool, bool, bool, str]:
    common = char.isascii() and char.isalnum()
    return (char != "x", not common, char.isupper(), not char.isprintable(), char)


def _spelt(both: _Pair, came_from: Mapping[_Pair, tuple[_Pair, str] | None]) -> str:
    """The characters that led here."""
    chars: list[str] = []
    while (step := came_from[both]) is not None:
        both, char = step
        chars.append(char)
    return "".join(reversed(chars))
