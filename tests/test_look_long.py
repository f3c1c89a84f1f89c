"""The page of a long input, and of one with holes: what counted is seen, and what is missing is told as that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsing import Opened, browser
from recurra.look import why
from recurra.look.looking import look
from test_look import KINDS, build


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as one:
        yield one


def test_reasons_of_a_long_input_open_where_they_count(
    chromium: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first steps have no gradient, so the greatest of all numbers is not to be sought from there."""
    monkeypatch.setattr(why, "WINDOW", 64)
    path = tmp_path / "long.html"
    look(build("language-gru"), "abcd" * 60, why=1).save(path)
    with Opened(chromium, path) as opened:
        opened.frames()
        left = opened.page.evaluate("""() => {
            const region = document.querySelector('#reasons'), from = region.getBoundingClientRect();
            return [...region.querySelectorAll('th[data-step]')].filter(each => {
                const at = each.getBoundingClientRect();
                return at.left >= from.left && at.right <= from.right;
            }).map(each => Number(each.dataset.step));
        }""")
        assert left and min(left) >= 240 - 64, left


def test_a_missing_number_is_a_dash(chromium: Any, tmp_path: Path) -> None:
    path = tmp_path / "holes.html"
    rows = np.array(KINDS["classify-ensemble-holes"], dtype=np.float64)
    rows[0] = np.nan
    look(build("classify-ensemble-holes"), rows, why=0).save(path)
    with Opened(chromium, path) as opened:
        opened.frames()
        said = opened.text("body")
        assert "NaN" not in said and "–" in opened.text("#units")
