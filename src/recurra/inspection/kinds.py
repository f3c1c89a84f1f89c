"""How each task is named, judged and described in a report and on a model's card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recurra.inspection.measures import part


@dataclass(frozen=True)
class Kind:
    """A task for the eyes.

    `compared` are the metrics that decide whether a model earned its keep, the most telling first; `judged` those that the
    best point of its curves is judged by. `hub` names it as model hubs do, for models that read text. `call` and `command`
    use a model, the latter with {} for its folder.
    """

    title: str
    row: str
    compared: tuple[str, ...]
    judged: tuple[str, ...]
    hub: str
    does: str
    call: str
    command: str
    limits: tuple[str, ...]


KINDS = {
    "language": Kind(
        title="language model",
        row="document",
        compared=("bits_per_character", "loss", "perplexity"),
        judged=("loss", "bits_per_character", "perplexity"),
        hub="text-generation",
        does="It predicts the next token of a text, continues texts and tells how surprising they are.",
        call='print(model.generate("Once upon a time"))',
        command='recurra generate {} --prompt "Once upon a time"',
        limits=(
            "It knows only texts like those it was trained on and writes fluent nonsense as readily as truth.",
            "It may repeat passages of its training data word for word.",
        ),
    ),
    "classify": Kind(
        title="classifier",
        row="row",
        compared=("accuracy", "macro_f1", "loss"),
        judged=("macro_f1", "accuracy", "loss"),
        hub="text-classification",
        does="It reads a sequence from its first step to its last and gives it one of its labels.",
        call='print(model.predict(["a text to classify"]))',
        command="recurra predict {} new.csv",
        limits=(
            "It can only answer with one of its labels, also where none of them fits.",
            "On data unlike its training data its answers and its confidence mean little.",
        ),
    ),
    "regress": Kind(
        title="regressor",
        row="row",
        compared=("mse", "mae", "r2", "loss"),
        judged=("mse", "mae", "loss"),
        hub="tabular-regression",
        does="It reads a sequence from its first step to its last and tells one or more numbers of it.",
        call="print(model.predict(inputs))",
        command="recurra predict {} new.csv",
        limits=(
            "It tells no bounds: a number that it answers may lie far from the truth.",
            "On data unlike its training data its answers mean little.",
        ),
    ),
    "tag": Kind(
        title="tagger",
        row="sentence",
        compared=("f1", "accuracy", "loss"),
        judged=("f1", "accuracy", "loss"),
        hub="token-classification",
        does="It reads a sentence and gives each of its tokens a tag.",
        call='print(model.predict(["a sentence to tag"]))',
        command="recurra predict {} new.jsonl",
        limits=(
            "It can only answer with tags that it has seen in training.",
            "On data unlike its training data its answers mean little.",
        ),
    ),
    "translate": Kind(
        title="translator",
        row="pair",
        compared=("bleu", "chrf", "accuracy", "loss"),
        judged=("bleu", "loss", "accuracy"),
        hub="translation",
        does="It reads a sentence and writes another for it, as in a second language.",
        call='print(model.predict(["a sentence to translate"]))',
        command="recurra predict {} new.tsv",
        limits=(
            "It knows only sentences like those it was trained on, and writes fluent nonsense for others.",
            "It may leave out or repeat parts of long sentences.",
        ),
    ),
    "forecast": Kind(
        title="forecaster",
        row="series",
        compared=("mse", "mae", "owa", "smape", "loss"),
        judged=("loss", "mse", "mae"),
        hub="time-series-forecasting",
        does="It reads a series row by row, and after any row tells its next values, with intervals.",
        call='print(model.forecast("history.csv"))',
        command="recurra predict {} history.csv",
        limits=(
            "It expects that what comes resembles what was: of breaks that the past does not foretell it knows nothing.",
            "Its intervals are as wide as its errors were on the validation data.",
        ),
    ),
}


def kind_of(record: Mapping[str, Any]) -> str:
    """The task of a run, judged by the metrics where the record does not say."""
    kind = record.get("kind")
    if kind in KINDS:
        return str(kind)
    results = part(record, "metrics", "valid") or part(record, "metrics", "test")
    return "classify" if "accuracy" in results or record.get("confusion") else "language"
