"""Whether two sources take a file of the same name, against the scan that takes them."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headrace.name_overlap import NameRules, name_of_both
from headrace.producers.folders.scan import WantedNames


def both(one: list[str], other: list[str], **rules: object) -> str | None:
    """The name that two sources of one folder take, of these patterns."""
    return name_of_both(NameRules(one, **rules), NameRules(other))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        ("2026*.csv", "*sales.csv", "2026sales.csv"),
        ("a?.csv", "?b.csv", "ab.csv"),
        ("[ab]*.csv", "a*.csv", "a.csv"),
        ("*.CSV", "*.csv", "x.csv"),
        ("[!x]", "?", "0"),
        ("*.csv", "sub/*", "sub/x.csv"),
        ("./a/*", "*/b", "a/b"),
        ("[]x]", "]", "]"),
        ("[a", "[[]?", "[a"),
        ("*", "*", "x"),
        ("*p", "*.tm*", "x.tmxp"),
        ("*.csv", "*.json", None),
        ("a*.csv", "b*.csv", None),
        ("??.csv", "?.csv", None),
        ("[!a]*", "a*", None),
        ("[a-f]", "[g-z]", None),
        (".a*", "*", None),
        ("*.tmp", "*", None),
        ("a/*.csv", "b/*.csv", None),
        ("*_????????.csv", "*-????????.csv", None),
    ],
)
def test_two_patterns_meet_in_a_shortest_name_or_in_none(
    one: str, other: str, name: str | None
) -> None:
    assert both([one], [other]) == name
    assert len(both([other], [one]) or "") == len(name or "")


def test_what_one_leaves_to_the_other_is_no_overlap() -> None:
    assert both(["*.csv"], ["*sales.csv"], ignore=["*sales.csv"]) is None
    assert both(["*.csv"], ["*sales.csv"], ignore=["*-sales.csv"]) == "sales.csv"
    assert both(["*"], ["*.done"], marker=".done") is None
    assert both(["*"], ["_SUCCESS"], marker="_SUCCESS") is None
    assert both(["*"], ["sub/*"], recursive=False) is None
    assert both(["*"], ["sub/*"], ignore=["sub"]) is None
    assert both(["*"], ["sub/*"], ignore=["sub/a*"]) == "sub/x"


def test_names_are_relative_to_the_inner_folder() -> None:
    outer = NameRules(["a/b/*.csv", "n*"], ignore=["no"])
    assert name_of_both(outer, NameRules(["*"]), "a/b") == "n"
    assert name_of_both(outer, NameRules(["x*"]), "a/b") == "x.csv"
    assert name_of_both(outer, NameRules(["*"]), "a/no") is None
    assert name_of_both(outer, NameRules(["*"]), ".a") is None
    assert name_of_both(NameRules(["*"], recursive=False), NameRules(["*"]), "a") is None


def test_a_lock_of_excel_is_nobodys() -> None:
    assert both(["~$*"], ["*.csv"]) is None
    assert both(["a/b*k.csv"], ["a/?/~$k.csv"]) is None
    assert both(["~*.csv"], ["*$*"]) == "~x$.csv"


def test_patterns_that_would_take_for_ever_are_not_refused() -> None:
    one, other = NameRules(["*a*"], ignore=["*a" + "?" * 24]), NameRules(["*b" + "?" * 24 + "x"])
    assert name_of_both(one, other, max_states=500) is None


# --- against every name there is

LETTERS = "aB./"
NAMES = [
    name
    for length in range(1, 6)
    for name in map("".join, product(LETTERS, repeat=length))
    if not name.startswith("/") and not name.endswith("/") and "//" not in name
]
PATTERN = st.lists(
    st.sampled_from(["a", "b", "A", "*", "?", ".", "/", "[ab]", "[!a]", "[A-a]", "[!.]", "[", "]"]),
    min_size=1,
    max_size=4,
).map("".join)
RULES = st.fixed_dictionaries(
    {"patterns": st.lists(PATTERN, min_size=1, max_size=2)},
    optional={
        "ignore": st.lists(PATTERN, max_size=2),
        "recursive": st.booleans(),
        "marker": st.sampled_from([".a", "b"]),
    },
)


@settings(max_examples=150, deadline=None)
@given(RULES, RULES, st.sampled_from(["", "", "a", "b/a", ".a"]))
def test_an_overlap_is_found_wherever_there_is_one_and_nowhere_else(
    one: dict[str, object], other: dict[str, object], folder: str
) -> None:
    outer, inner = WantedNames(**one), WantedNames(**other)  # type: ignore[arg-type]
    before = f"{folder}/" if folder else ""
    assume(not folder or outer.looks_into(folder) or folder == ".a")
    name = name_of_both(NameRules(**one), NameRules(**other), folder)  # type: ignore[arg-type]
    if name is not None:
        assert inner(name)
        assert outer(before + name)
    taken = [name for name in NAMES if inner(name) and outer(before + name)]
    assert not taken or (name is not None and len(name) <= min(map(len, taken))), taken[:3]
