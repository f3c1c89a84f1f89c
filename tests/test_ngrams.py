"""N-grams beside a classifier: sums by hand, what they are fitted to, how much they count, and that they can be left out."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch

import recurra
from recurra.errors import UsageError
from recurra.fitting.ngrams import _shares, lines_for
from recurra.layers import NGrams
from recurra.models import Classifier


def filled(longest: int, lines: int = 97) -> NGrams:
    part = NGrams(2, longest, lines)
    part.set(torch.randn(lines, 2), torch.tensor([0.25, -0.5]))
    return part


def test_the_answer_is_the_bias_and_the_sum_over_the_root_of_the_count() -> None:
    part = filled(2)
    tokens = torch.tensor([4, 7, 4])
    lines = part.hashed(torch.cat([torch.zeros(1, dtype=torch.int64), tokens + 1])[:, None])[:, 0]
    assert lines[0, 1] == -1 and (lines[1:] >= 0).all()
    assert lines[0, 0] == lines[2, 0]  # the same token, whatever came before
    assert lines[1, 1] != lines[2, 1]  # 4 7 is not 7 4
    found = lines[lines >= 0]
    expected = part.bias + part.table[found].sum(dim=0) / math.sqrt(5)
    logits, state = part(tokens[:, None], part.initial_state(1))
    torch.testing.assert_close(logits[0], expected)
    assert float(state.count) == 5 and state.recent.tolist() == [[5]]


def test_weights_are_kept_as_multiples_whose_sums_are_exact() -> None:
    part = filled(3)
    units = part.table.double() * 2**16
    assert torch.equal(units, units.round())
    assert float((part.table - filled(3).table).abs().max()) > 0.1


def test_no_gram_reaches_over_a_reset() -> None:
    part = filled(3)
    tokens = torch.tensor([[1], [2], [3], [4]])
    resets = torch.tensor([[False], [False], [True], [False]])
    whole, state = part(tokens, part.initial_state(1), None, resets)
    alone, after = part(tokens[2:], part.initial_state(1))
    assert torch.equal(whole, alone) and torch.equal(state.recent, after.recent)


def test_the_table_grows_with_the_text_within_bounds() -> None:
    assert lines_for(10, 2) == 1025
    assert lines_for(100_000, 2) == 200_001
    assert lines_for(10**9, 4) == (1 << 19) + 1


def test_shares_are_those_of_the_least_loss() -> None:
    torch.manual_seed(0)
    targets = torch.randint(0, 3, (400,))
    right = torch.nn.functional.one_hot(targets, 3).double()
    noise = torch.randn(400, 3, dtype=torch.float64)
    shares = _shares(right + noise, right - noise, targets)
    assert shares[0] > 0.5 and shares[1] == pytest.approx(float(shares[0]), rel=0.3)
    useless = _shares(3 * right + 0.5 * noise, torch.randn(400, 3, dtype=torch.float64), targets)
    assert abs(float(useless[1])) < 0.5


WORDS = ["good", "fine", "great", "bad", "poor", "awful", "soup", "noodles", "tea", "today", "again", "here"]


def rows(count: int, seed: int) -> str:
    """Texts whose label is told by one pair of neighbours."""
    draw = random.Random(seed)
    lines = ["text\tlabel"]
    for number in range(count):
        words = draw.choices(WORDS, k=5)
        pair = ("not", "good") if number % 2 else ("very", "good")
        place = draw.randrange(4)
        lines.append(f"{' '.join([*words[:place], *pair, *words[place:]])}\t{'no' if number % 2 else 'yes'}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ngrams")
    for name, count, seed in (("train", 400, 0), ("valid", 100, 1)):
        (folder / f"{name}.tsv").write_text(rows(count, seed))
    return folder


def fitted(folder: Path, name: str, **choices: Any) -> recurra.Model:
    choices = {"epochs": 1, "hidden": 8, "level": "words", **choices}
    return recurra.fit(folder / "train.tsv", valid=folder / "valid.tsv", out=folder / name, baselines=False, **choices)


def test_they_are_fitted_saved_and_counted_where_they_help(folder: Path) -> None:
    model = fitted(folder, "beside", ngrams=True)
    task = model.task
    assert isinstance(task, Classifier) and model.record is not None
    assert task.ngrams is not None and float(task.shares[1]) > 0.1
    assert model.record["metrics"]["valid"]["accuracy"] > 0.97
    assert any("without the n-grams" in note for note in model.record["notes"])
    again = recurra.load(folder / "beside")
    text = "tea not good here"
    assert again.predict(text) == model.predict(text)
    assert again.predict(text)[0]["label"] == "no"
    with task.sharing(1.0, 0.0):
        assert model.predict(text) != again.predict(text)
    assert model.predict(text) == again.predict(text)


def test_of_few_texts_there_are_none_unless_wanted(folder: Path) -> None:
    assert fitted(folder, "alone").task.ngrams is None
    assert "ngrams" not in (folder / "alone" / "config.json").read_text()


def test_numbers_and_other_tasks_refuse_them(folder: Path, tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.jsonl"
    numbers.write_text("".join(f'{{"series": [{n}, {n % 3}, 1], "label": "{n % 2}"}}\n' for n in range(60)))
    with pytest.raises(UsageError, match="--ngrams is for text"):
        recurra.fit(numbers, ngrams=True, out=tmp_path / "m")
    with pytest.raises(UsageError, match="--ngrams is for --task classify"):
        recurra.fit(folder / "train.tsv", task="language", ngrams=True, out=tmp_path / "m")
