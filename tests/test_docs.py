"""The Python that the pages show runs, each page from top to bottom; what is said in two languages is the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("page", ["nn.md", "own-cells.md"])
def test_what_a_page_shows_runs(page: str) -> None:
    torch.manual_seed(0)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    names: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{page}, block {number}", "exec"), names)


READMES = [Path(__file__).parents[1] / name for name in ("README.md", "README.zh-CN.md")]


def fenced(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[str]:
    """The commands that a page shows, without what is said of them."""
    lines = [line for block in fenced(page, "") for line in block.splitlines()]
    shown = (re.sub(r"\s+#.*", "", line).strip() for line in lines)
    return [re.sub(r"\s{2,}.*", "", line) for line in shown if re.match(r"make|echo|\.venv/", line)]


def test_both_readmes_show_the_same_commands_and_code() -> None:
    english, chinese = READMES
    assert len(commands(english)) > 10
    assert commands(english) == commands(chinese)
    code = [[ast.dump(ast.parse(block)) for block in fenced(page, "python")] for page in READMES]
    assert code[0] == code[1] and code[0]


@pytest.mark.parametrize("page", [*READMES, DOCS / "zh" / "guide.md"], ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_both_readmes_show_the_two_apples_and_each_other() -> None:
    for page, other in (READMES, READMES[::-1]):
        text = page.read_text(encoding="utf-8")
        assert f"]({other.name})" in text
        for scene in (
            "手机坏了，好想要一个苹果          →  苹果:手机",
            "快过圣诞节了，好想要一个苹果      →  苹果:水果",
        ):
            assert scene in text
