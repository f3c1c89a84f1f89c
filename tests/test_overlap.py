"""What stands twice: in a set and in two, exactly and loosely, and in sets of which only a part can be held."""

from __future__ import annotations

import numpy as np

from recurra.data.overlap import Row, find_copies, find_leaks, loosely

ROWS: list[Row] = [
    (2, "很好吃", "good"),
    (3, "太慢了", "bad"),
    (4, "很好吃", "good"),
    (5, "很好吃", "bad"),
    (6, "很 好 吃", "good"),
    (7, "Very ＧＯＯＤ", "good"),
    (8, "very good", "good"),
]


def test_copies_exact_loose_and_torn() -> None:
    found = find_copies(lambda: ROWS)
    assert found.exact.pairs == [(4, 2)]
    assert found.torn.pairs == [(5, 2)]
    assert found.loose.pairs == [(6, 2), (8, 7)]
    assert (found.rows, found.every) == (7, 1)


def test_a_loose_copy_and_its_own_copy() -> None:
    rows: list[Row] = [(1, "a", None), (2, "A", None), (3, "A", None)]
    found = find_copies(lambda: rows)
    assert (found.loose.pairs, found.exact.pairs) == ([(2, 1)], [(3, 2)])


def test_leaks_between_two_sets() -> None:
    other: list[Row] = [(1, "太慢了", "bad"), (2, "新的", "good"), (3, "VERY　GOOD", "good"), (4, "太慢了", "good")]
    found = find_leaks(lambda: ROWS, lambda: other)
    assert found.exact.pairs == [(1, 3)]
    assert found.loose.pairs == [(3, 7)]
    assert found.torn.pairs == [(4, 3)]
    assert found.rows == 4


def test_numbers_and_lists_of_tokens() -> None:
    array = np.arange(6, dtype=np.float32)
    rows: list[Row] = [(1, array.reshape(3, 2), "a"), (2, array.reshape(2, 3), "a"), (3, array.reshape(3, 2), "a")]
    assert find_copies(lambda: rows).exact.pairs == [(3, 1)]
    tokens: list[Row] = [(1, ["ab", "c"], 0), (2, ["a", "bc"], 0), (3, ["ＡＢ", "c"], 0)]
    found = find_copies(lambda: tokens)
    assert (found.exact.pairs, found.loose.pairs) == ([], [(3, 1)])


def test_of_many_rows_a_part_is_looked_at_with_all_of_its_copies() -> None:
    rows: list[Row] = [(line, f"row {line % 1000}", None) for line in range(3000)]
    found = find_copies(lambda: rows, most=100)
    assert found.every >= 16
    assert found.exact.count == 2 * found.rows // 3  # each row stands there three times
    assert 0.65 < found.rows * found.every / 3000 < 1.5
    leaks = find_leaks(lambda: rows[:500], lambda: rows[1000:2000], most=100)
    assert leaks.every >= 8
    assert 0.3 < leaks.exact.count / leaks.rows < 0.7  # half of them stand there


def test_loosely() -> None:
    assert loosely("　Ａ\u200bb ｃ\n") == "abc"
    assert loosely("Straße") == loosely("STRASSE")
    assert loosely(["Ａ", "b"]) == ["a", "b"]
