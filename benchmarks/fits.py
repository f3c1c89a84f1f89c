"""`recurra fit` against the plain torch script: characters a second, each in processes of its own, in turns."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import plain_torch_lm as plain
from results import Result, Settings
from rows import Row
from timing import paired

SECONDS, QUICK_SECONDS = 15.0, 5.0
# the numbers of the plain script; left out, `recurra fit` would choose them by the size of the text
RECIPE = (
    *("--rows", str(plain.ROWS), "--steps", str(plain.STEPS), "--dropout", str(plain.DROPOUT)),
    *("--rate", str(plain.RATE), "--level", "characters"),
)
HELD = 512  # characters for the validations, few, so that it is training that is measured


def fit(row: Row, settings: Settings) -> Result:
    """Both train the same model on the same text for the same time; every figure counts the validations in."""
    minutes = (QUICK_SECONDS if settings.quick else SECONDS) / 60
    model = ["--cell", row.cell, "--hidden", str(row.width), "--layers", str(row.layers), "--minutes", str(minutes)]
    rounds = 3 if settings.quick else settings.rounds
    speeds: dict[str, list[float]] = {"ours": [], "torch": []}
    losses: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        train, valid = _texts(settings.text, Path(folder))
        for turn in range(rounds):
            for contestant in ("ours", "torch") if turn % 2 == 0 else ("torch", "ours"):
                run = _recurra if contestant == "ours" else _plain
                speed, losses[contestant] = run(train, valid, model, settings.threads)
                speeds[contestant].append(speed)
    ratio = paired(speeds["ours"], speeds["torch"])
    note = f"validation loss after {60 * minutes:.0f} s: ours {losses['ours']:.3f}, torch {losses['torch']:.3f}"
    return Result(row, speeds, unit="characters/s", ratios={"torch": ratio}, note=note)


def _recurra(train: Path, valid: Path, model: list[str], threads: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model"
        extra = [*RECIPE, "--valid", str(valid), "--no-baselines", "--out", str(out)]
        _run(["-m", "recurra", "fit", str(train), *model, *extra], threads)
        record = json.loads((out / "record.json").read_text(encoding="utf-8"))
    last = record["history"][-1]
    return last["units"] / last["seconds"], record["metrics"]["valid"]["loss"]


def _plain(train: Path, valid: Path, model: list[str], threads: int) -> tuple[float, float]:
    script = Path(__file__).with_name("plain_torch_lm.py")
    told = json.loads(_run([str(script), str(train), str(valid), *model], threads))
    return told["characters"] / told["seconds"], told["loss"]


def _run(words: list[str], threads: int) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr}")
    return done.stdout


def _texts(source: str, folder: Path) -> tuple[Path, Path]:
    """The text in two files; a generated one where none was given."""
    text = Path(source).read_text(encoding="utf-8") if source else _generated()
    train, valid = folder / "train.txt", folder / "valid.txt"
    train.write_text(text[:-HELD], encoding="utf-8")
    valid.write_text(text[-HELD:], encoding="utf-8")
    return train, valid


def _generated(characters: int = 500_000) -> str:
    """Made-up sentences from a made-up vocabulary, always the same."""
    chance = random.Random(0)
    letters = "eeeeeetttttaaaaaoooooiiiinnnnsssshhhrrrrddlllcccuummwwffggyyppbbvk"
    words = ["".join(chance.choice(letters) for _ in range(chance.randint(1, 9))) for _ in range(3000)]
    weights = [1 / (place + 2) for place in range(len(words))]
    lines, size = [], 0
    while size < characters:
        line = " ".join(chance.choices(words, weights, k=chance.randint(4, 14))).capitalize() + ".\n"
        lines.append(line)
        size += len(line)
    return "".join(lines)
