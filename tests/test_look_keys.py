"""The page of a look without a mouse: every control is reached in order, seen, and has a role and a name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browsing import Opened, browser
from recurra.look.looking import look
from recurra.look.page import render
from test_look_browser import ONE, OTHER, classifier

NUMBERED = """() => {
    const all = [...document.querySelectorAll('button, input, select, textarea, summary, [tabindex="0"]')];
    const some = all.filter(e => !e.disabled && e.checkVisibility());
    some.forEach((e, place) => e.dataset.walk = place);
    return some.length }"""
"""Every control that can be seen has its number, in the order of the page; how many there are."""
HERE = """() => {
    const e = document.activeElement, style = getComputedStyle(e);
    const ringed = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
    const box = (e.closest('section, header') ?? e).getBoundingClientRect();
    return [+e.dataset.walk, ringed, box.left, box.top + scrollY] }"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as one:
        yield one


def opened(chromium: Any, folder: Path, width: int) -> Opened:
    path = folder / "page.html"
    path.write_text(render(look(classifier(layers=2), ONE, OTHER, why=1)), "utf-8")
    return Opened(chromium, path, width=width)


@pytest.mark.parametrize("width", [390, 1200])
def test_tab_reaches_every_control_in_the_order_that_is_seen(chromium: Any, width: int, tmp_path: Path) -> None:
    with opened(chromium, tmp_path, width) as one:
        page = one.page
        count = page.evaluate(NUMBERED)
        assert count > 35
        places = []
        for number in range(count):
            page.keyboard.press("Tab")
            place, ringed, left, top = page.evaluate(HERE)
            assert place == number and ringed, page.evaluate("document.activeElement.outerHTML")[:200]
            places.append((left, top))
        # downwards, and from the one column to the other
        assert places == sorted(places) if width == 390 else len({left for left, _ in places}) > 1
        tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
        found = [node for node in tree if any(each["name"] == "focusable" for each in node.get("properties", []))]
        nameless = [node for node in found if not node["name"]["value"] or node["role"]["value"] == "generic"]
        assert len(found) >= count and nameless == []


def test_arrows_walk_enter_opens_and_escape_comes_back(chromium: Any, tmp_path: Path) -> None:
    with opened(chromium, tmp_path, 1200) as one:
        page = one.page
        page.focus("[data-scene='1']")
        for key in ("Home", "ArrowRight", "ArrowDown", "Enter"):
            page.keyboard.press(key)
        assert page.evaluate("document.activeElement.id") == "cell"
        one.reads("#cell .where", "Layer 1 (GRU), step 2, input 机")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "unit"
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.dataset.scene") == "1"
        page.keyboard.press("ArrowUp")
        one.reads("#cell .where", "Layer 2 (GRU), step 2")
