"""Changed inputs in the page: the network that runs there answers as the model does, and says why where it does not run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from browsing import Opened, browser
from recurra.data.codecs import LabelCodec
from recurra.data.token_codec import TokenCodec
from recurra.layers import StackConfig
from recurra.look.kinds import AskTagger
from recurra.look.looking import look
from recurra.look.page import render, weights
from recurra.models import Tagger
from recurra.models.tagger import TaggerCodecs, TaggerConfig
from test_look import KINDS, build

EXACT = 1e-4


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as one:
        yield one


def opened(chromium: Any, model: Any, raw: Any, folder: Path) -> Opened:
    path = folder / "page.html"
    path.write_text(render(look(model, raw, why=0)), "utf-8")
    return Opened(chromium, path)


def by_pairs() -> Tagger:
    """A tagger of characters with the pairs they make."""
    tokens = TokenCodec.learn([list("北京东路"), list("北京西路"), list("去东京")])
    assert (tokens.level, tokens.width) == ("characters", 3)
    config = TaggerConfig(
        stack=StackConfig(cell="lstm", hidden=8, bidirectional=True), tags=3, words=len(tokens.words), labels=0,
        parts=len(tokens.parts), once=tokens.once, width=3, level="characters", embedding=5, part_embedding=3,
    )  # fmt: skip
    return Tagger(config, TaggerCodecs(tokens, LabelCodec(["B-a", "I-a", "O"]), "BIO"))


TAGGERS: dict[str, tuple[Any, list[str]]] = {
    "spelled, a field, a label": (lambda: build("tag-both-ways", torch.float32), ["Abc", "def", "zz9", "ghostly"]),
    "one way, no field": (lambda: build("tag-softmax", torch.float32), ["abc", "def", "zz"]),
    "pairs of characters": (by_pairs, ["去", "北", "京", "路"]),
}


@pytest.mark.parametrize("name", TAGGERS)
def test_a_tagger_s_tags_follow_its_tokens(chromium: Any, name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, tokens = TAGGERS[name]
    model = make().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    with opened(chromium, model, tokens, tmp_path) as page:
        assert page.number("#whatif", "difference") < EXACT
        tags_are(page, "#oldState", model, tokens)
        page.page.click("[data-place='1']")
        page.page.click("[data-do='earlier']")
        page.page.click("[data-place='2']")
        page.page.fill("#replace", "x1Y")
        page.page.press("#replace", "Enter")
        tags_are(page, "#newState", model, [tokens[1], tokens[0], "x1Y", *tokens[3:]])


def tags_are(page: Opened, where: str, model: Tagger, tokens: list[str]) -> None:
    asked = AskTagger(model, tokens)
    with torch.no_grad():
        given = asked.run()
    wanted = [guesses[0] for guesses in asked.outputs(given)]
    rows = page.page.locator(f"{where} .tagged li").evaluate_all("all => all.map(e => [e.dataset.tag, +e.dataset.p])")
    assert [tag for tag, _ in rows] == [each["text"] for each in wanted]
    assert [p for _, p in rows] == pytest.approx([each["p"] for each in wanted], abs=EXACT)
    shares_are(page, where, asked.answer().get("probabilities", {}))


def shares_are(page: Opened, where: str, wanted: dict[str, float]) -> None:
    rows = page.page.locator(f"{where} .guesses li").evaluate_all(
        "all => all.map(e => [e.firstChild.textContent, +e.dataset.p])"
    )
    assert dict(rows) == pytest.approx(wanted, abs=EXACT)


@pytest.mark.parametrize("name", ["classify-gru-attention", "classify-spelled-beside-ngrams", "classify-beside-ngrams"])
def test_what_stands_beside_and_behind_the_stack_counts_too(chromium: Any, name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = build(name, torch.float32).eval()
    text = "a b cab h a b" if "spelled" in name else "abcdea"
    with torch.no_grad():
        model.head.mul_(3.0)
    if "attention" in name or "spelled" in name:
        torch.nn.init.normal_(model.pooling.score, std=3.0)
    with opened(chromium, model, text, tmp_path) as page:
        assert page.number("#whatif", "difference") < EXACT
        shares_are(page, "#oldState", model.predict([text])[0]["probabilities"])
        page.page.click("[data-place='2']")
        page.page.click("[data-do='remove']")
        changed = "a b h a b" if "spelled" in name else "abdea"
        shares_are(page, "#newState", model.predict([changed])[0]["probabilities"])


@pytest.mark.parametrize(
    "name", ["classify-fronted-both-ways", "regress-fronted", "classify-ensemble-holes", "regress-ensemble"]
)
def test_numbers_are_changed_in_a_table(chromium: Any, name: str, tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = build(name, torch.float32).eval()
    raw = KINDS["regress-fronted"].copy()
    raw[3, 1] = np.nan
    with opened(chromium, model, raw, tmp_path) as page:
        assert page.number("#whatif", "difference") < EXACT
        numbers_are(page, "#oldState", model, raw)
        page.page.fill("[data-at='1,0']", "2.5")
        page.page.press("[data-at='1,0']", "Enter")
        assert page.page.evaluate("document.activeElement.dataset.at") == "1,0"
        # an emptied field is a missing value
        page.page.fill("[data-at='2,1']", "")
        page.page.press("[data-at='2,1']", "Enter")
        page.page.click("[data-place='5']")
        page.page.click("[data-do='earlier']")
        raw[1, 0], raw[2, 1] = 2.5, np.nan
        raw[[4, 5]] = raw[[5, 4]]
        numbers_are(page, "#newState", model, raw)
        assert page.page.locator("#whatif input.altered").count() > 3


def numbers_are(page: Opened, where: str, model: Any, raw: np.ndarray) -> None:
    answer = model.predict([raw])[0]
    if "probabilities" in answer:
        shares_are(page, where, answer["probabilities"])
        return
    wanted = answer["values"].values() if "values" in answer else [answer["value"]]
    found = page.page.locator(f"{where} .values li").evaluate_all("all => all.map(e => +e.dataset.value)")
    assert found == pytest.approx(list(wanted), abs=EXACT, rel=EXACT)


def test_what_is_not_run_is_refused_in_words(chromium: Any, tmp_path: Path) -> None:
    with opened(chromium, build("translate-gru", torch.float32), "abcd", tmp_path) as page:
        told = page.text("#whatif")
        assert "not run in the page: a translation is searched for" in told
        page.page.click("#language")
        page.reads("#whatif", "翻译要在许多候选中逐词搜索")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("translate-gru", "searched for word by word"),
        ("forecast-gru", "levels, seasons and a smoothing"),
        ("classify-fronted-both-ways", "has [0-9,]+ parameters, and a page holds 10 at most"),
    ],
)
def test_each_refusal_has_its_reason(name: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(name, torch.float32)
    if "parameters" in reason:
        assert weights.unsupported(model) is None and weights.embedded(model) is not None
        monkeypatch.setattr(weights, "MOST", 10)
    found = weights.unsupported(model)
    assert found is not None and weights.embedded(model) is None
    assert re.search(reason, found["en"]) and found["zh"].endswith("。")


def test_rows_too_wide_to_be_changed_by_hand_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "COLUMNS", 2)
    found = weights.unsupported(build("classify-fronted-both-ways", torch.float32))
    assert found is not None and "at most 2 can be changed" in found["en"]
