"""Committed offsets: there after a start, whatever was torn at the end."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.infra.broker.offsets import Committed, GroupOffsets

commits = st.lists(
    st.tuples(
        st.sampled_from(["g", "h"]), st.sampled_from(["t", "u"]), st.integers(0, 2), st.integers(0)
    ).map(lambda it: (it[0], (it[1], it[2]), Committed(it[3] % 2**60, "é\n"))),
    max_size=30,
)


def opened(path: Path) -> GroupOffsets:
    offsets = GroupOffsets(path)
    offsets.open()
    return offsets


def held(offsets: GroupOffsets) -> dict[str, dict[tuple[str, int], Committed]]:
    return {group: dict(offsets.of_group(group)) for group in sorted(offsets.groups)}


@given(sent=commits)
@settings(deadline=None, max_examples=50)
def test_the_last_commit_counts_after_any_number_of_starts(
    sent: list[tuple[str, tuple[str, int], Committed]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "offsets.log"
        expected: dict[str, dict[tuple[str, int], Committed]] = {}
        for group, place, committed in sent:
            offsets = opened(path)
            offsets.commit(group, {place: committed})
            offsets.close()
            expected.setdefault(group, {})[place] = committed
        for _ in range(2):
            offsets = opened(path)
            assert held(offsets) == expected
            offsets.close()


@given(sent=commits, cut=st.floats(0, 1), garbage=st.binary(max_size=30))
@settings(deadline=None, max_examples=80)
def test_a_torn_file_gives_the_state_after_some_commit(
    sent: list[tuple[str, tuple[str, int], Committed]], cut: float, garbage: bytes
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "offsets.log"
        offsets = opened(path)
        states = [held(offsets)]
        for group, place, committed in sent:
            offsets.commit(group, {place: committed})
            states.append(held(offsets))
        offsets.close()
        data = path.read_bytes()
        path.write_bytes(data[: round(cut * len(data))] + garbage)
        again = opened(path)
        assert held(again) in states
        again.commit("new", {("t", 0): Committed(1, "")})
        again.close()
        assert "new" in held(opened(path))


@given(sent=commits.filter(bool), at=st.integers(0, 10**6), bit=st.integers(0, 7))
@settings(deadline=None, max_examples=80)
def test_a_flipped_bit_never_gives_a_commit_nobody_made(
    sent: list[tuple[str, tuple[str, int], Committed]], at: int, bit: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "offsets.log"
        offsets = opened(path)
        for group, place, committed in sent:
            offsets.commit(group, {place: committed})
        offsets.close()
        data = bytearray(path.read_bytes())
        data[at % len(data)] ^= 1 << bit
        path.write_bytes(data)
        for group, places in held(opened(path)).items():
            for place, committed in places.items():
                assert (group, place, committed) in sent


def test_what_was_taken_back_stays_gone(tmp_path: Path) -> None:
    offsets = opened(tmp_path / "o")
    offsets.commit("g", {("t", 0): Committed(1, ""), ("u", 0): Committed(2, "")})
    offsets.commit("h", {("t", 1): Committed(3, "")})
    offsets.forget_topic("t")
    assert held(offsets) == {"g": {("u", 0): Committed(2, "")}}
    offsets.close()
    offsets = opened(tmp_path / "o")
    assert held(offsets) == {"g": {("u", 0): Committed(2, "")}}
    offsets.forget_group("g")
    offsets.close()
    assert held(opened(tmp_path / "o")) == {}


def test_commits_in_logs_that_are_gone_or_shorter_now_are_taken_back(tmp_path: Path) -> None:
    offsets = opened(tmp_path / "o")
    offsets.commit("g", {("t", 0): Committed(4, ""), ("t", 1): Committed(5, "")})
    offsets.commit("h", {("u", 0): Committed(0, ""), ("t", 1): Committed(9, "")})
    offsets.keep_within({("t", 0): 4, ("t", 1): 8, ("v", 0): 1})
    left = {"g": {("t", 0): Committed(4, ""), ("t", 1): Committed(5, "")}}
    assert held(offsets) == left
    offsets.close()
    assert held(opened(tmp_path / "o")) == left


def test_the_file_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "o"
    offsets = opened(path)
    note = "x" * 1_000
    for offset in range(3_000):
        offsets.commit("g", {("t", 0): Committed(offset, note)})
    assert path.stat().st_size < 1_200_000
    assert held(offsets) == {"g": {("t", 0): Committed(2_999, note)}}
    offsets.close()
    assert held(opened(path)) == {"g": {("t", 0): Committed(2_999, note)}}
    assert path.stat().st_size < 2_000
