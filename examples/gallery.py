"""The pictures of docs/gallery.md: a small model of every task and of every cell, trained here and looked into.

Run it: python examples/gallery.py [FOLDER] [NAME ...], or `make gallery`. It takes some minutes and needs no network. All it
learns from is made here or lies beside it, and the same machine draws the same pictures.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import recurra
from forecasting import hours
from recurra.cells import CELLS
from recurra.look import Look, look
from recurra.models import LanguageModel
from series import pulses
from tagging import ENGLISH, sentence
from translation import chinese, english

HERE = Path(__file__).parent
PICTURES = HERE.parent / "docs" / "gallery"
GARDEN = {"the cat": "sleeps", "the dog": "runs", "a bird": "sings", "the old king": "waits"}
PLACES = ("under the tree", "in the garden", "by the river")


def fit(data: Any, folder: Path, **options: Any) -> recurra.Model:
    return recurra.fit(data, out=folder / "model", fresh=True, baselines=False, quiet=True, **options)


# ---- tasks


def garden(lines: int = 1500) -> str:
    """A text in which who is named first decides what is done."""
    drawn = random.Random(1)
    names = [drawn.choice(list(GARDEN)) for _ in range(lines)]
    return "".join(f"{name} {GARDEN[name]} {drawn.choice(PLACES)}.\n" for name in names)


def next_word(folder: Path) -> Look:
    (folder / "garden.txt").write_text(garden())
    model = fit(folder / "garden.txt", folder, level="words", hidden=24, rows=8, steps=32, epochs=3)
    return model.look("the cat sleeps.\nthe old king", why=1)


def classification(folder: Path) -> Look:
    model = fit(HERE / "two_apples" / "train.tsv", folder, hidden=32, epochs=25)
    return model.look("快过圣诞节了，好想要一个苹果", "手机坏了，好想要一个苹果")


def tagging(folder: Path) -> Look:
    drawn = random.Random(0)
    rows = [sentence(*drawn.choice(ENGLISH), "en", drawn) for _ in range(200)]
    data = {key: [row[key] for row in rows] for key in ("tokens", "tags", "label")}
    return fit(data, folder, epochs=8, hidden=24, rate=0.01).look("what is the weather like in New York")


def translation(folder: Path) -> Look:
    pairs = [(english(number), chinese(number)) for number in random.Random(0).sample(range(1000), 700)]
    model = fit(pairs, folder, task="translate", hidden=32, level="words", epochs=20, rate=0.006)
    return model.look("two hundred and forty seven")


def forecasting(folder: Path) -> Look:
    rows = hours(480)
    model = fit(rows, folder, horizon=24, ahead="promotion", parts="plain", epochs=16, hidden=24, rate=0.01)
    last = rows.filter(rows["unique_id"] == "north").tail(72).to_dicts()
    return model.look(last, titles=["three days of one shop, and the next one"])


SERIES: dict[str, Any] = {"epochs": 6, "hidden": 24, "members": 1, "probes": False}


def series_classes(folder: Path) -> Look:
    series, labels, _ = pulses(160, seed=0)
    return fit((series, labels), folder, **SERIES).look(
        *pulses(2, seed=5)[0], titles=["a narrow pulse", "a wide pulse"]
    )


def series_numbers(folder: Path) -> Look:
    series, _, heights = pulses(160, seed=0)
    return fit((series, heights), folder, task="regress", **SERIES).look(pulses(2, seed=5)[0][1], titles=["a pulse"])


def shapes(rows: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Pictures [N, 12, 12] of a ring, a cross or a square, moved about and noisy."""
    drawn = np.random.default_rng(seed)
    pictures, labels = np.zeros((rows, 12, 12)), []
    for row, picture in enumerate(pictures):
        middle, name = drawn.uniform(4.5, 6.5, 2), ("ring", "cross", "square")[row % 3]
        down, right = np.abs(np.indices(picture.shape) - middle[:, None, None])
        far = {"ring": np.abs(np.hypot(down, right) - 3.5), "cross": np.abs(down - right) + 9 * (down > 3.7),
               "square": np.abs(np.maximum(down, right) - 3.5)}  # fmt: skip
        picture += 235 * (far[name] < 0.8) + drawn.uniform(0, 20, picture.shape)
        labels.append(name)
    return pictures, labels


def pictures_by_rows(folder: Path) -> Look:
    pictures, labels = shapes(240, seed=0)
    model = fit((list(pictures), labels), folder, **SERIES)
    return model.look(shapes(3, seed=5)[0][0], titles=["a ring, row by row"])


# ---- cells


def of_cell(folder: Path, cell: str) -> Look:
    """The same text and the same words for every cell: in them the verb is told by the name before it."""
    (folder / "garden.txt").write_text(garden())
    model = fit(folder / "garden.txt", folder, cell=cell, hidden=16, rows=8, steps=64, epochs=4, rate=0.01)
    return model.look("a bird sings", titles=[f"{CELLS[cell].__name__}: a bird sings"], why=1)


def leaky(x: torch.Tensor, s: Any, p: Any) -> Any:
    """A step of one's own: what is read is blended into the state, each unit at a rate that it learns."""
    keep = torch.sigmoid(p.rate)
    h = keep * s.h + (1 - keep) * torch.tanh(x @ p.W.T + s.h @ p.U.T + p.b)
    return h, {"h": h}


def of_own_cell(folder: Path) -> Look:
    (folder / "garden.txt").write_text(garden())
    task = fit(folder / "garden.txt", folder, cell="elman", hidden=16, rows=8, steps=64, epochs=1).task
    assert isinstance(task, LanguageModel)
    width = task.config.embedding
    shapes = {"W": (16, width), "U": (16, 16), "b": (16,), "rate": torch.zeros(16)}
    task.stack = recurra.Stack([recurra.Block(recurra.OwnCell(leaky, width, state={"h": 16}, parameters=shapes))])
    learn(task, garden())
    return look(task, "a bird sings", titles=["OwnCell: a bird sings"], why=1)


def learn(task: LanguageModel, text: str, rows: int = 8, steps: int = 64, passes: int = 4) -> None:
    """A loop by hand: the text as so many streams, whose state is carried on from chunk to chunk."""
    tokens = torch.tensor(task.codec.encode(text))
    tokens = tokens[: len(tokens) // rows * rows].view(rows, -1)
    optimiser = torch.optim.Adam(task.parameters(), lr=0.01)
    for _ in range(passes):
        state = None
        for at in range(0, tokens.shape[1] - steps, steps):
            outputs, state = task(tokens[:, at : at + steps], state)
            loss = torch.nn.functional.cross_entropy(
                outputs.flatten(0, 1), tokens[:, at + 1 : at + steps + 1].flatten()
            )
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
            optimiser.step()
            state = recurra.state.detach(state)


TASKS: dict[str, Callable[[Path], Look]] = {
    "next-word": next_word, "classification": classification, "tagging": tagging, "translation": translation,
    "forecasting": forecasting, "series-classes": series_classes, "series-numbers": series_numbers,
    "pictures-by-rows": pictures_by_rows,
}  # fmt: skip


def picture(name: str) -> Look:
    """One of the gallery, by the name of its file."""
    with tempfile.TemporaryDirectory() as made:
        if name in TASKS:
            return TASKS[name](Path(made))
        cell = name.removeprefix("cell-")
        return of_own_cell(Path(made)) if cell == "own" else of_cell(Path(made), cell)


NAMES = (*TASKS, *(f"cell-{cell}" for cell in CELLS), "cell-own")


def main(folder: Path, names: tuple[str, ...] = NAMES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / f"{name}.svg"
        picture(name).save(path)
        print(f"{path}  {path.stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES, tuple(sys.argv[2:]) or NAMES)
