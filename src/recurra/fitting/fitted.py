"""A fitted model in a person's hands: predict, evaluate, stream, generate, save."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from recurra.baselines import NGramCache
from recurra.data.checking import raise_fatal
from recurra.data.datasets import Dataset, TextDataset
from recurra.data.reading import read
from recurra.errors import DataError, UsageError
from recurra.fitting.following import Follower, forecast
from recurra.fitting.forecasting import LEVELS, cross_validation, rolling, series_in
from recurra.fitting.kinds import kind_of
from recurra.fitting.to_measure import long_of, to_measure
from recurra.look import Look, look
from recurra.models import Answer, Forecaster, LanguageModel, Task, fingerprint, load_model, save_model
from recurra.progress import Progress
from recurra.streaming import Session, generate
from recurra.training import SEGMENT, evaluate, evaluate_adapting

EVALUATION_ROWS, EVALUATION_STEPS = 64, 1024
# what the answers of rows are called, and the option that names their column
ANSWERS = {
    "classify": ("labels", "a label", "--label"),
    "regress": ("numbers", "a number", "--label"),
    "tag": ("tags", "a list of tags", "--tags"),
    "translate": ("targets", "a target", "--target"),
    "forecast": ("values", "values one after another", "--target"),
}


class Model:
    """What `recurra.fit` and `recurra.load` give.

    `task` is the network (a `torch.nn.Module`), `folder` where it is kept (None where nowhere yet), `record` what is known
    of its training.
    """

    def __init__(self, task: Task, folder: Path | None = None, record: dict[str, Any] | None = None) -> None:
        self.task = task.eval()
        self.folder = folder
        self.record = record or {}

    def __repr__(self) -> str:
        about = self.task.summary()
        return f"Model({self.kind}, {about['cell']} {about['layers']}×{about['hidden']}, {about['parameters']:,} parameters)"

    @property
    def kind(self) -> str:
        """Its task: "language", "classify", "regress", "tag", "translate" or "forecast"."""
        return self.task.kind

    @property
    def fingerprint(self) -> str:
        """The content hash that states are bound to."""
        return fingerprint(self.task)

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics measured when the model was fitted, by split."""
        return self.record.get("metrics", {})

    def predict(self, raw: Any, *, top: int = 5, **choices: Any) -> list[Answer]:
        """An answer for each input: texts, arrays [T, F], the rows of a frame, or one text. Of a frame with a row a step, as
        that which the model was made with, each series is an input, in the order in which they come first.

        A forecaster takes series of plain numbers here, and frames in `forecast`.

        A classifier answers `{"label", "probabilities"}`, a language model `{"next": [{"token", "probability"}, ...]}`, a
        translator `{"translation", "score", "best": [{"text", "score"}, ...]}`; the last takes the choices `beam` and
        `length_penalty`.
        """
        if isinstance(self.task, Forecaster) and (
            isinstance(raw, dict) or type(raw).__name__ in ("DataFrame", "Table")
        ):
            raise UsageError(
                "A forecaster answers a frame with a frame", fix="Use forecast(frame), or follow() and update"
            )
        if isinstance(raw, dict) or type(raw).__name__ in ("DataFrame", "Table"):
            # the rows of a table, not the names of its columns
            dataset, _, problems = read(raw, task=self.kind, need_labels=False, long=long_of(self.task))
            lost = next((problem for problem in problems if problem.left_out), None)
            if lost is not None:
                raise DataError(
                    f"Not every row can be answered: {lost.message}",
                    fix="Drop such rows first, so that answers match rows",
                )
            raw = dataset.raw
        return self.task.predict(raw, top=top, **choices)

    def forecast(
        self, data: Any, *, levels: Sequence[float] = LEVELS, horizon: int | None = None, fill: str | None = None
    ) -> Any:
        """What follows each series of `data` (a frame, or a path): a frame of the same library.

        Its columns are unique_id, ds, mean, and for each level lo-80 and hi-80. See `recurra.fitting.forecasting.forecast`.
        """
        return forecast(self.task, data, levels=levels, horizon=horizon, fill=fill)

    def follow(self, data: Any = None, *, path: str | Path | None = None) -> Follower:
        """A follower of series, from the rows of `data` on, or from a file that it saved.

        Its `update` costs the new rows alone.
        """
        follower = Follower(self.task) if path is None else Follower.load(self.task, path)
        if data is not None:
            follower.update(data)
        return follower

    def cross_validation(
        self, data: Any, *, windows: int | None = None, step: int | None = None, levels: Sequence[float] = LEVELS,
        history: Any = None,
    ) -> Any:  # fmt: skip
        """Forecasts from moments of the past beside what came, as a frame; see `fitting.forecasting.cross_validation`."""
        return cross_validation(self.task, data, windows=windows, step=step, levels=levels, history=history)

    def evaluate(
        self, data: Any, *, text: str | None = None, label: str | None = None, tags: str | None = None,
        target: str | None = None, dynamic: float | None = None, cache: bool = False, windows: int | None = None,
        step: int | None = None, history: Any = None, quiet: bool = False,
    ) -> dict[str, float]:  # fmt: skip
        """The metrics on data of any form that `fit` takes; what they do not tell is noted on stderr, unless `quiet`.

        A language model may learn on while it reads, by about `dynamic` a step and weight (0.0003, say), and have an n-gram
        `cache` of what it read beside it; the model itself stays as it is. A forecaster is measured on the last `windows`
        beginnings of each series (all where None), `step` rows apart, and reads `history` before `data`.
        """
        if isinstance(self.task, Forecaster):
            dataset = rolling(self.task, series_in(self.task, data), windows, 1 if step is None else step, history)
            return measure(self.task, dataset)[0]
        if windows is not None or step is not None or history is not None:
            raise UsageError("Windows, step and history are for a forecaster", got=f"a model of kind '{self.kind}'")
        columns = {"text": text, "label": label, "tags": tags, "target": target}
        dataset, told = to_measure(self.task, data, **columns)
        with Progress(quiet=quiet) as talk:
            for sentence in told:
                talk.note(sentence)
        if dynamic is None and not cache:
            metrics, sums = measure(self.task, dataset)
        else:
            metrics, sums = _adapting(self.task, dataset, dynamic, cache)
        with Progress(quiet=quiet) as talk:
            for note in kind_of(dataset).notes(self.task, dataset, sums):
                talk.note(f"note: {note}")
        return metrics

    def session(self, state: Any = None) -> Session:
        """A session that reads a sequence piece by piece, from `state` on if given."""
        return Session(self.task, state)

    def resume(self, path: str | Path) -> Session:
        """A session continued from a state file."""
        return Session.load(self.task, path)

    def generate(self, prompt: str = "", **choices: Any) -> str:
        """`prompt` continued; choices are those of `recurra.streaming.generate`."""
        return prompt + "".join(self.pieces(prompt, **choices))

    def pieces(self, prompt: str = "", **choices: Any) -> Iterator[str]:
        """The continuation of `prompt`, piece by piece as it is drawn."""
        return generate(self.task, prompt, **choices)

    def look(
        self, raw: Any, other: Any = None, *, titles: Sequence[str] | None = None, why: int | None = None,
        corpus: Any = None,
    ) -> Look:  # fmt: skip
        """Look inside while the model reads one input, or two to compare: every state and gate, and why it answered so.

        `corpus`: data of any form that `fit` takes, in which is looked up where each unit is largest. A notebook shows
        what comes back as a page; `save("look.html")` keeps it. Arguments and errors: `recurra.look.look`.
        """
        inputs = [raw] if other is None else [raw, other]
        data = None if corpus is None else corpus_of(self.task, corpus)
        return look(self.task, *inputs, titles=titles, why=why, corpus=data)

    def save(self, folder: str | Path) -> None:
        """Write the model folder; what stood there is replaced."""
        record = json.dumps(self.record, ensure_ascii=False, indent=1) + "\n"
        save_model(self.task, folder, {"record.json": record})
        self.folder = Path(folder)


def corpus_of(task: Task, data: Any) -> list[tuple[str, Any]]:
    """(name, raw input) of each row of some data, a text as its lines. Raises `DataError` for what cannot be read."""
    if isinstance(task, Forecaster):
        return [(one.name, one) for one in series_in(task, data).series]
    dataset, _, problems = read(data, task=task.kind, need_labels=False)
    raise_fatal([problem for problem in problems if problem.fatal], dataset.name)
    if isinstance(dataset, TextDataset):
        return [(str(line), text) for line, text in dataset.numbered_lines() if text]
    return [(str(line), raw) for line, raw in zip(dataset.lines, dataset.raw, strict=True)]


def load(folder: str | Path) -> Model:
    """Read a model folder. Raises `ModelError` for one that is missing, damaged, altered or newer than this Recurra."""
    folder = Path(folder)
    # the record is talk; a model whose record was damaged still works
    return Model(load_model(folder), folder, record_in(folder) or {})


def record_in(folder: Path) -> dict[str, Any] | None:
    """The record of a model folder, empty where it has none; None where what stands there is damaged."""
    path = folder / "record.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError):
        return None
    return found if isinstance(found, dict) and _are_metrics(found.get("metrics", {})) else None


def _are_metrics(found: Any) -> bool:
    """Whether these are numbers by name, by split."""
    splits = found.values() if isinstance(found, dict) else [None]
    return all(
        isinstance(split, dict) and all(isinstance(value, float) for value in split.values()) for split in splits
    )


def _adapting(
    task: Task, dataset: Dataset, rate: float | None, cache: bool
) -> tuple[dict[str, float], dict[str, Tensor]]:
    if not isinstance(task, LanguageModel) or not isinstance(dataset, TextDataset):
        raise UsageError("Only a language model goes on learning, or has a cache", got=f"a model of kind '{task.kind}'")
    if rate is not None and not 0 < rate < 1:
        raise UsageError("--dynamic is out of range", got=rate, expected="above 0, below 1; 0.0003 is a good beginning")
    feed = task.feed(dataset, rows=1, steps=SEGMENT, training=False)
    return evaluate_adapting(task, feed, rate=rate, cache=NGramCache(task.codec.size) if cache else None)


def measure(task: Task, dataset: Dataset, rows: int | None = None) -> tuple[dict[str, float], dict[str, Tensor]]:
    """(metrics, their sums) of a task on a dataset; a text is read as one stream unless `rows` says in how many."""
    if not dataset.answered:
        what, each, option = ANSWERS[task.kind]
        raise DataError(
            f"{dataset.name} has no {what}", expected=f"{each} for each row", fix=f"Name the column with {option}"
        )
    if rows is None:
        rows = 1 if isinstance(dataset, TextDataset) else EVALUATION_ROWS
    return evaluate(task, task.feed(dataset, rows=rows, steps=EVALUATION_STEPS, training=False))
