"""The page of all cells: what it says of rows, and that each cell of the registry can be a row."""

from __future__ import annotations

import json
from typing import Any

import pytest
from benchmarks.all_cells import MEMORY, RESULTS, _pass_of, _solved, page

from recurra.cells import CELLS

ROW: dict[str, Any] = {
    "bits_per_character": 2.34567, "parameters": 12345, "text_steps": 500, "seconds_per_1000_steps": 3.21, "digits": 0.9321,
    "streaming_microseconds": 4.56, "pass_milliseconds": 7.89, "peak_mebibytes": 10.1,
    **{name: {"length": length, "steps": 1234, "longest": length} for name, length in MEMORY},
    "machine": {"processor": "one of its kind", "torch": "9.9", "commit": "abc123"},
}  # fmt: skip


def test_a_row_is_told_with_its_machine_and_code() -> None:
    text = page({"gru": ROW, "lstm": {**ROW, "parity": {"length": 100, "steps": 9, "longest": None}}})
    assert "| gru | 12,345 | 2.346 | 93.2% | solved, 1,234 steps | solved, 1,234 steps |" in text
    assert "| gru | 3.2 | 7.9 | 4.6 | 10.1 |" in text
    assert "| lstm | 12,345 | 2.346 | 93.2% | solved, 1,234 steps | no |" in text
    assert text.count("processor one of its kind, torch 9.9") == 1 and "Code: abc123." in text


def test_what_is_not_solved_tells_how_far_it_came() -> None:
    assert _solved({"length": 100, "longest": 20, "steps": 5}) == "no; up to 20"
    assert _solved({"length": 100, "longest": None, "steps": 5}) == "no"


@pytest.mark.parametrize("cell", CELLS)
def test_a_pass_runs_every_cell(cell: str) -> None:
    _pass_of(cell)(2)


def test_the_rows_that_are_kept_make_the_page() -> None:
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert set(kept) <= set(CELLS)
    assert page(kept) == (RESULTS.parents[1] / "docs" / "cells.md").read_text(encoding="utf-8")
