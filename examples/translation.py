"""Translation on one page: English numbers into Chinese ones, "forty thousand and five" into 四万零五."""

import random
import re
import sys
import tempfile
from pathlib import Path

import torch

import recurra
from recurra.models import Translator

NAMES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"""
ONES, TENS, DIGITS = NAMES.split()[:20], ["", "", *NAMES.split()[20:]], "零一二三四五六七八九"


def english(number: int) -> str:
    if number < 100:
        tens, ones = divmod(number, 10)
        return ONES[number] if number < 20 else f"{TENS[tens]} {ONES[ones] if ones else ''}".strip()
    size, word = (1000, "thousand") if number >= 1000 else (100, "hundred")
    many, rest = divmod(number, size)
    return f"{english(many)} {word} {'and ' if 0 < rest < 100 else ''}{english(rest) if rest else ''}".strip()


def chinese(number: int) -> str:
    places = reversed(["", "十", "百", "千", "万"][: len(str(number))])
    said = [DIGITS[int(one)] + (place if one != "0" else "") for one, place in zip(str(number), places, strict=True)]
    return re.sub("零+", "零", "".join(said)).rstrip("零").replace("一十", "十", number < 20) or "零"


def main(pairs: int = 3000, epochs: int = 25) -> float:
    """The share of new numbers that are translated right."""
    numbers = random.Random(0).sample(range(100_000), pairs + 200)
    rows = [(english(number), chinese(number)) for number in numbers]
    with tempfile.TemporaryDirectory() as folder:
        model = recurra.fit(rows[200:], task="translate", out=Path(folder) / "model", epochs=epochs, baselines=False)
        answers = model.predict([source for source, _ in rows[:200]], beam=5)
        right = [answer["translation"] == target for (_, target), answer in zip(rows, answers, strict=False)]
        for place in range(5):
            print(f"{rows[place][0]:60} {answers[place]['translation']:12} {'✓' if right[place] else rows[place][1]}")
        assert isinstance(model.task, Translator)
        halfway(model.task)
    return sum(right) / len(right)


def halfway(task: Translator) -> None:
    """A translation that a person began: the state after the source and 四 is a value, and the model goes on from it."""
    session = recurra.Session(task, task.begin("forty two thousand and seven"))
    session.advance([task.end])  # what begins a translation is what ends one
    for best in task.translate(session.state, last=torch.tensor(task.target_codec.encode("四")))[0][:2]:
        print(f"四 … {task.said(best.tokens)}  ({best.score:.2f})")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
