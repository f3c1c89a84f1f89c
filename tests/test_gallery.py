"""The gallery: its script trains and draws, its pages show every picture, and no picture is missing or heavy."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from test_examples import EXAMPLES, example

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("page", ["gallery.md", "zh/gallery.md"])
def test_the_pages_show_every_picture(page: str, gallery: ModuleType) -> None:
    path = DOCS / page
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", path.read_text(encoding="utf-8"))
    pictures = [(path.parent / each).resolve() for each in shown]
    assert sorted(one.stem for one in pictures) == sorted(gallery.NAMES)
    for one in pictures:
        assert one.stat().st_size < 60_000
        ElementTree.parse(one)
    assert {one.name for one in (DOCS / "gallery").iterdir()} == {one.name for one in pictures}


def test_every_cell_is_in_it(gallery: ModuleType) -> None:
    from recurra.cells import CELLS

    assert {f"cell-{cell}" for cell in CELLS} < set(gallery.NAMES)


@pytest.fixture
def gallery(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # it takes its data from the examples beside it
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return example("gallery", most=200)


def test_its_script_draws(gallery: ModuleType, tmp_path: Path) -> None:
    gallery.main(tmp_path, ("tagging", "cell-rglru"))
    tags, cell = ((tmp_path / f"{name}.svg").read_text(encoding="utf-8") for name in ("tagging", "cell-rglru"))
    assert ">B-PLACE</text>" in tags and "why “weather”" in tags
    assert "RGLRU: a bird sings" in cell and "6,104 parameters" in cell
