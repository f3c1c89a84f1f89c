"""Tagging: names in English and Chinese sentences, found with their types, and what kind of sentence each is.

Run it with `python examples/tagging.py`: it takes some seconds and needs no file and no network.
"""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import recurra

ENGLISH = [
    ("book a table for two in PLACE", "restaurant"),
    ("what is the weather like in PLACE tomorrow", "weather"),
    ("will it rain when PERSON comes to PLACE", "weather"),
    ("call PERSON and book a table", "restaurant"),
]
CHINESE = [
    ("PLACE明天天气怎么样", "weather"),
    ("PERSON到PLACE时会下雨吗", "weather"),
    ("在PLACE订一张两个人的桌子", "restaurant"),
]
NAMES = {
    "en": {"PERSON": ["Ada", "Grace Hopper", "Alan Turing"], "PLACE": ["Oslo", "New York", "Cape Town", "Lima"]},
    "zh": {"PERSON": ["王小明", "李华", "欧阳娜"], "PLACE": ["北京", "呼和浩特", "西安"]},
}


def sentence(form: str, label: str, language: str, drawn: random.Random) -> dict[str, Any]:
    """A form with names put in: tokens (words, or characters), a tag for each (BIO), and the sentence's label."""
    tokens, tags = list[str](), list[str]()
    for part in form.replace("PERSON", " PERSON ").replace("PLACE", " PLACE ").split():
        words = drawn.choice(NAMES[language][part]) if part in NAMES[language] else part
        cut = words.split() if language == "en" else list(words)
        tokens += cut
        tags += [f"B-{part}", *[f"I-{part}"] * (len(cut) - 1)] if part in NAMES[language] else ["O"] * len(cut)
    return {"tokens": tokens, "tags": tags, "label": label}


def main(folder: Path, epochs: int = 8) -> list[recurra.Model]:
    drawn, models = random.Random(0), []
    for language, forms, question in (
        ("en", ENGLISH, "what is the weather like in New York"),
        ("zh", CHINESE, "王小明到呼和浩特时会下雨吗"),
    ):
        rows = [sentence(*drawn.choice(forms), language, drawn) for _ in range(200)]
        data = {key: [row[key] for row in rows] for key in ("tokens", "tags", "label")}
        model = recurra.fit(data, out=folder / language, epochs=epochs, hidden=32, rate=0.01, quiet=True)
        print(language, {name: round(value, 3) for name, value in model.metrics["valid"].items()})
        print(model.predict(question)[0])
        models.append(model)
    return models


if __name__ == "__main__":
    main(Path(mkdtemp()))
