"""The demo: what Recurra does, from nothing to a state you can keep, in a few minutes and without a network.

Run it with `make demo`. Every step is an ordinary command that you can type yourself; it is shown before it runs.
"""

from __future__ import annotations

import csv
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SCENES = HERE / "two_apples"
WORK = HERE.parent / "runs" / "demo"
FRUIT, PHONE = "快过圣诞节了，好想要一个苹果", "手机坏了，好想要一个苹果"


def main() -> None:
    started = time.monotonic()
    # models this small gain nothing from a second thread, and lose much where the machine is busy
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    WORK.mkdir(parents=True, exist_ok=True)
    two_apples()
    next_word()
    digits()
    print(f"\nThat took {time.monotonic() - started:.0f} s. What to try next, with data of your own:")
    for command in ("fit MY_TEXT.txt", "fit MY_TABLE.csv", "info runs/demo/apples", "doctor"):
        print(f"  .venv/bin/recurra {command}")
    print(f"  open {WORK / 'apples.html'} in a browser: inside the network, step by step, with a tour")
    print(f"  open {WORK / 'apples' / 'report.html'} too; docs/guide.md tells the rest")


def two_apples() -> None:
    title("1. Two apples: the same last words, two meanings. What came before decides")
    train, test = SCENES / "train.tsv", SCENES / "test.tsv"
    recurra("fit", train, "--test", test, "--text", "text", "--label", "label", "--out", WORK / "apples", "--fresh")
    recurra("predict", WORK / "apples", FRUIT, "--top", "2")
    recurra("predict", WORK / "apples", PHONE, "--top", "2")
    print("\nWhy: the unrolled network with its real states, for both scenes side by side.")
    recurra("look", WORK / "apples", FRUIT, PHONE, "--out", WORK / "apples.html")
    print("A feed-forward network that sees the last six characters, the ending that both meanings share:")
    ending = json.loads(recurra("fit", endings(), "--test", endings("test"), "--cell", "feedforward", "--epochs", "20",
                                "--no-baselines", "--out", WORK / "endings", "--fresh", "--json", silent=True))  # fmt: skip
    record = json.loads((WORK / "apples" / "record.json").read_text(encoding="utf-8"))
    print(
        f"  right on the held-out scenes: recurrent {record['metrics']['test']['accuracy']:.1%}, "
        f"feed-forward {ending['metrics']['test']['accuracy']:.1%} (it knows the word, and guesses between its two meanings)"
    )


def next_word() -> None:
    title("2. The next word: a language model on the same scenes, streamed with a state that is kept")
    text = WORK / "scenes.txt"
    text.write_text("\n".join(row["text"] for row in rows("train")), encoding="utf-8")
    model, state = WORK / "language", WORK / "my.state"
    recurra("fit", text, "--out", model, "--fresh")
    print("\nTwo contexts that end alike, two rankings of what comes next:")
    for scene in (FRUIT, PHONE):
        recurra("predict", model, scene.split("好")[0], "--top", "8")
    recurra("generate", model, "--prompt", "手机坏了，", "--length", "60", "--temperature", "0.7")
    state.unlink(missing_ok=True)
    print("\nIn two runs of the program, a day apart if you like: the state goes on from the file.")
    recurra("stream", model, "--state", state, stdin="快过圣诞节了，\n")
    recurra("stream", model, "--state", state, stdin="好想要一个\n")


def digits() -> None:
    title("3. Numbers: handwritten digits read row by row, beside an ordinary feed-forward network on whole images")
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:1400], order[1400:]
    for name, shape in (("rows", (-1, 8, 8)), ("whole", (-1, 1, 64))):
        for split, places in (("train", train), ("test", test)):
            np.savez(WORK / f"{name}-{split}.npz", x=images[places].reshape(shape).astype(np.float32), y=labels[places])
    results = {}
    for name, cell in (("rows", "gru"), ("whole", "feedforward")):
        files = WORK / f"{name}-train.npz", "--test", WORK / f"{name}-test.npz", "--out", WORK / f"digits-{name}"
        out = recurra("fit", *files, "--cell", cell, "--no-baselines", "--fresh", "--json", silent=True)
        results[name] = json.loads(out)["metrics"]["test"]["accuracy"]
    print(f"  right on 397 held-out digits: row by row with a state {results['rows']:.1%}, "
          f"the whole image through an ordinary network {results['whole']:.1%}")  # fmt: skip


def rows(split: str) -> list[dict[str, str]]:
    """The scenes of a split."""
    with open(SCENES / f"{split}.tsv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def endings(split: str = "train", width: int = 6) -> Path:
    """The last characters of each scene as one step of numbers: all that a network without a state gets to see."""
    known = sorted({character for row in rows("train") for character in row["text"][-width:]})
    places = {character: place for place, character in enumerate(known)}
    scenes = rows(split)
    x = np.zeros((len(scenes), 1, width * len(known)), dtype=np.float32)
    for number, row in enumerate(scenes):
        for place, character in enumerate(row["text"][-width:]):
            if character in places:
                x[number, 0, place * len(known) + places[character]] = 1.0
    path = WORK / f"endings-{split}.npz"
    np.savez(path, x=x, y=np.array([row["label"] for row in scenes]))
    return path


def title(text: str) -> None:
    print(f"\n\n=== {text} ===", flush=True)


def recurra(*words: object, stdin: str | None = None, silent: bool = False) -> str:
    """Run a command as a person would; its talk is shown unless `silent`, its answer is returned."""
    command = [str(word) for word in words]
    if not silent:
        print(f"\n$ recurra {shlex.join(command)}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "recurra", *command],
        input=stdin, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if silent else None, check=True,
    )  # fmt: skip
    if not silent:
        print(done.stdout, end="", flush=True)
    return done.stdout


if __name__ == "__main__":
    main()
