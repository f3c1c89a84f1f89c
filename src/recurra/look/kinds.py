"""One file's worth of what differs from task to task: what stands at each step, what is answered there, what to explain.

An `Asker` holds one input of one model. It runs the model on it, or on changed copies of it; `value` is the one number of
an answer that `why` explains: the logarithm of the probability of a class, tag or token, in nats, or a number that is told.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from recurra.data.batches import Batch
from recurra.data.sequence_codec import SeriesCodec
from recurra.data.text_codec import TextCodec
from recurra.errors import DataError, UsageError
from recurra.kernels.crf import log_partition
from recurra.models import (
    Answer,
    Classifier,
    ClassifierEnsemble,
    Ensemble,
    Forecaster,
    LanguageModel,
    Regressor,
    RegressorEnsemble,
    Tagger,
    Task,
    Translator,
    WordByWord,
)
from recurra.models.tagger import Sentences

TOP = 5
MOST_ANSWERS = 4096
"""Steps up to which a model that answers once is asked after each of them."""
Outputs = list[Any]
Both = dict[str, str]


@dataclass(frozen=True)
class Target:
    """What to explain: at which step it is answered, which of the answers (`index`), as a person reads it; `unit` "nats",
    or that of a number. `places`: the steps 0 .. places - 1 are what the answer may depend on."""

    step: int
    index: int
    text: str
    places: int
    unit: str = "nats"


class Asker(ABC):
    """One input of a task."""

    remark: ClassVar[Both | None] = None
    """What is to be known of the explanations of this kind, in English and Chinese."""
    once: ClassVar[bool] = False
    """Whether all that can be explained is read off one answer to the whole input."""

    def __init__(self, task: Any, raw: Any) -> None:
        self.task = task
        self.answered: dict[tuple[int, ...], Tensor] = {}
        """Of one that answers once, what it answered to changed inputs: kept, as the model stays what it is."""
        self.raw = raw
        self.batch: Batch = task.encode([raw])
        if self.steps == 0:
            raise DataError("There is nothing to look at", got=repr(raw)[:60], expected="an input of at least one step")

    @property
    def steps(self) -> int:
        return self.batch.inputs.shape[1]

    @abstractmethod
    def told(self) -> dict[str, Any]:
        """What stands at each step: {"kind": "tokens", "texts"} or {"kind": "rows", "columns", "values"}."""

    def run(self) -> Tensor:
        """What the model gives for the input, as `forward` does; `watched` sees its cells."""
        return self.task(self.batch.inputs)[0]

    @abstractmethod
    def outputs(self, given: Tensor) -> Outputs:
        """For each step what is answered there: the likeliest with their probabilities, a number, or None."""

    def answer(self) -> Answer:
        """As `predict` answers."""
        return self.task.answer(self.batch, top=TOP)[0][0]

    @abstractmethod
    def targets(self, given: Tensor) -> list[Target]:
        """Every answer that can be explained, the most telling one last."""

    def part(self, target: Target) -> Tensor:
        """The inputs[1, T, ...] that a target may depend on."""
        return self.batch.inputs[:, : target.places] if self.task.causal else self.batch.inputs

    def moves(self, target: Target) -> bool:
        """Whether what is asked belongs to a step, and not to the end of what is read."""
        return False

    @property
    def entries(self) -> list[nn.Module]:
        """What reads the embedded inputs; nothing where the inputs are numbers themselves."""
        return []

    @property
    def beside(self) -> list[nn.Module]:
        """What answers beside the networks without a gradient, (answer[B, K], state) each."""
        return []

    @property
    def carries(self) -> bool:
        """Whether a long input can be read on from a state in its middle."""
        return self.task.causal

    @property
    def columns(self) -> list[tuple[str, int]]:
        """The numbers of a step by name, and where each stands in the inputs; nothing where tokens are read."""
        return []

    @property
    def each(self) -> list[Asker]:
        """Of several networks that answer together each by itself."""
        return []

    def answers(self, inputs: Tensor, lengths: Tensor | None = None, state: Any = None) -> Tensor:
        """The outputs for changed inputs[B, T, ...] that values are read off."""
        return self.task(inputs, state, lengths)[0]

    def again(self, inputs: Tensor, target: Target, lengths: Tensor | None = None, state: Any = None) -> Tensor:
        """The value[B] of a target for changed inputs[B, T, ...]."""
        outputs = self.answers(inputs, lengths, state)
        ends = torch.full((len(inputs),), inputs.shape[1], device=inputs.device) if lengths is None else lengths
        return self.value(outputs, ends - 1, target)

    @abstractmethod
    def value(self, outputs: Tensor, places: Tensor, target: Target) -> Tensor:
        """The value[B] of a target, read at the places[B] of the outputs."""

    def reference(self, inputs: Tensor) -> Tensor:
        """What says nothing, in place of numbers that are read: their mean in training."""
        return torch.where(inputs.isnan(), inputs, torch.zeros_like(inputs))


def likeliest_of(logits: Tensor, name: Callable[[int], str]) -> Outputs:
    """logits[T, K] -> for each step the likeliest with their probabilities; of very many steps the first one alone."""
    top = min(TOP if len(logits) <= MOST_ANSWERS else 1, logits.shape[1])
    shares, places = logits.cpu().double().softmax(-1).topk(top)
    return [
        [{"text": name(place), "p": float(f"{p:.6g}"), "index": place} for p, place in zip(*row, strict=True)]
        for row in zip(shares.tolist(), places.tolist(), strict=True)
    ]


def _at(outputs: Tensor, places: Tensor) -> Tensor:
    """outputs[B, T, K] at places[B]."""
    return outputs[torch.arange(len(outputs), device=outputs.device), places.clamp(min=0)]


class _Next(Asker):
    """A token is told at every step."""

    @abstractmethod
    def name(self, index: int) -> str: ...

    @property
    def entries(self) -> list[nn.Module]:
        return [self.task.stack]

    def told(self) -> dict[str, Any]:
        return {"kind": "tokens", "texts": texts_of(self.task.codec, self.raw, self.batch.inputs[0])}

    def outputs(self, given: Tensor) -> Outputs:
        return likeliest_of(given[0], self.name)

    def value(self, outputs: Tensor, places: Tensor, target: Target) -> Tensor:
        return _at(outputs, places).log_softmax(-1)[:, target.index]


class AskLanguage(_Next):
    """What comes next: at each step the token that came, at the last the likeliest."""

    def name(self, index: int) -> str:
        return self.task.codec.token(index)

    def targets(self, given: Tensor) -> list[Target]:
        came = self.batch.inputs[0, 1:].tolist()
        chosen = [*came, int(given[0, -1].argmax())]
        return [Target(step, index, self.name(index), step + 1) for step, index in enumerate(chosen)]


class AskWordByWord(_Next):
    """The target word at each step: of those that can be said, as the answer is."""

    def outputs(self, given: Tensor) -> Outputs:
        return super().outputs(self.task.sayable(given))

    def value(self, outputs: Tensor, places: Tensor, target: Target) -> Tensor:
        return super().value(self.task.sayable(outputs), places, target)

    def name(self, index: int) -> str:
        return self.task.target_codec.token(index)

    def targets(self, given: Tensor) -> list[Target]:
        chosen = self.task.sayable(given)[0].argmax(-1).tolist()
        places = [step + 1 if self.task.causal else self.steps for step in range(self.steps)]
        return [Target(step, index, self.name(index), places[step]) for step, index in enumerate(chosen)]

    def moves(self, target: Target) -> bool:
        return not self.task.causal

    def again(self, inputs: Tensor, target: Target, lengths: Tensor | None = None, state: Any = None) -> Tensor:
        outputs, _ = self.task(inputs, state, lengths)
        ends = torch.full((len(inputs),), inputs.shape[1], device=inputs.device) if lengths is None else lengths
        behind = target.places - 1 - target.step
        return self.value(outputs, ends - 1 - behind, target)


class AskWhole(Asker):
    """One answer for the whole: by a classifier, a regressor, or several of them together."""

    once: ClassVar[bool] = True

    @property
    def first(self) -> Any:
        return self.task.first if isinstance(self.task, Ensemble) else self.task

    @property
    def members(self) -> list[Any]:
        return list(self.task.members) if isinstance(self.task, Ensemble) else [self.task]

    @property
    def remark(self) -> Both | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        if isinstance(self.task, Ensemble):
            english = "Answers and explanations are of the average of all members."
            chinese = "回答和解释都是所有成员的平均。"
            if self.task.voice is not None:
                english += (
                    " The fixed convolutions beside them count, which no gradient tells of: in the two methods of gradients "
                    "they say what they say of the whole input, and only what is taken out is taken from them too."
                )
                chinese += "旁边的固定卷积只是计数，没有梯度：在两种梯度方法里，它们所说的始终不变；"
                chinese += "只有删除时，才从它们那里也一并删去。"
            return {"en": english, "zh": chinese}
        if getattr(self.task, "ngrams", None) is not None:
            return {
                "en": "Gradients see the network alone; what is taken out is taken from the n-grams beside it too.",
                "zh": "梯度只看到网络本身；删除时，旁边的 n 元组里也一并删去。",
            }
        return None

    @property
    def entries(self) -> list[nn.Module]:
        return [] if self.first.embedding is None else [member.stack for member in self.members]

    @property
    def beside(self) -> list[nn.Module]:
        voice = self.task.voice if isinstance(self.task, Ensemble) else None
        return [] if voice is None else [voice]

    @property
    def columns(self) -> list[tuple[str, int]]:
        if self.first.embedding is not None:
            return []
        codec, width = self.first.codec, self.batch.inputs.shape[2]
        long = codec.long if isinstance(codec, SeriesCodec) else None
        names = [str(1 + place) for place in range(width)] if long is None else long.channels
        return [(name, place) for place, name in enumerate(names)]

    @property
    def each(self) -> list[Asker]:
        return [AskWhole(member, self.raw) for member in self.members] if len(self.members) > 1 else []

    @property
    def _labels(self) -> Any:
        return self.task.labels if isinstance(self.task, Classifier | ClassifierEnsemble) else None

    def told(self) -> dict[str, Any]:
        codec, inputs = self.first.codec, self.batch.inputs[0]
        if isinstance(codec, TextCodec):
            return {"kind": "tokens", "texts": texts_of(codec, self.raw, inputs)}
        assert isinstance(codec, SeriesCodec)
        values = np.asarray(self.raw, dtype=np.float64).reshape(len(inputs), -1)
        return {"kind": "rows", "columns": [name for name, _ in self.columns], "values": values}

    def outputs(self, given: Tensor) -> Outputs:
        if not self.task.causal or self.steps > MOST_ANSWERS:
            return [None] * (self.steps - 1) + self._told_of(given)
        found: Outputs = []
        state = None
        for step in range(self.steps):
            output, state = self.task(self.batch.inputs[:, step : step + 1], state)
            found += self._told_of(output)
        return found

    def _told_of(self, output: Tensor) -> Outputs:
        labels = self._labels
        if labels is not None:
            return likeliest_of(output, labels.decode)
        rows = self.task.numbers.decode(output.cpu().double().numpy())
        return [row[0] if len(row) == 1 else row for row in rows]

    def targets(self, given: Tensor) -> list[Target]:
        last, labels = self.steps - 1, self._labels
        if labels is not None:
            order = given[0].argsort(descending=False).tolist()[-2:]
            return [Target(last, index, labels.decode(index), self.steps) for index in order]
        names = self.task.numbers.names
        return [Target(last, place, name, self.steps, unit="value") for place, name in enumerate(names)][::-1]

    def value(self, outputs: Tensor, places: Tensor, target: Target) -> Tensor:
        if self._labels is not None:
            return outputs.log_softmax(-1)[:, target.index]
        numbers = self.task.numbers
        return outputs[:, target.index] * float(numbers.scale[target.index]) + float(numbers.mean[target.index])


class AskTagger(Asker):
    """The tag of each token, and the label of the sentence."""

    remark: ClassVar[Both | None] = {
        "en": "A tag's probability is its marginal: over all ways to tag the other tokens. A token that explains its own tag "
        "is replaced by an unknown one.",
        "zh": "标签的概率是边际概率：对其余各词的所有标法求和。一个词解释它自己的标签时，用未知词代替它。",
    }

    @property
    def entries(self) -> list[nn.Module]:
        return [self.task.stack]

    def told(self) -> dict[str, Any]:
        assert isinstance(self.batch, Sentences)
        return {"kind": "tokens", "texts": self.batch.tokens[0]}

    def outputs(self, given: Tensor) -> Outputs:
        return likeliest_of(self._marginals(given[0]).log(), self.task.codecs.tags.decode)

    def _marginals(self, given: Tensor) -> Tensor:
        """p[T, K] of each tag at each step: of a field, the gradient of log Z by the scores."""
        scores = given[:, : self.task.config.tags].detach()
        if self.task.field is None:
            return scores.softmax(-1)
        with torch.enable_grad():
            scores.requires_grad_()
            field = self.task.field
            whole = log_partition(scores[:, None], field["transitions"], field["start"], field["end"])
            return torch.autograd.grad(whole.sum(), scores)[0].clamp(min=0)

    def targets(self, given: Tensor) -> list[Target]:
        tags = self.answer()["tags"]
        ids = {tag: place for place, tag in enumerate(self.task.codecs.tags.labels)}
        found = [Target(step, ids[tag], tag, self.steps) for step, tag in enumerate(tags)]
        labels = self.task.codecs.labels
        if labels is not None:
            best = int(given[0, -1, self.task.config.tags :].argmax())
            found.append(Target(self.steps - 1, self.task.config.tags + best, labels.decode(best), self.steps))
        # what is no span says the least
        return sorted(found, key=lambda one: one.text != "O")

    def part(self, target: Target) -> Tensor:
        return self.batch.inputs

    def moves(self, target: Target) -> bool:
        return target.index < self.task.config.tags

    def again(self, inputs: Tensor, target: Target, lengths: Tensor | None = None, state: Any = None) -> Tensor:
        outputs, _ = self.task(inputs, state, lengths)
        ends = torch.full((len(inputs),), inputs.shape[1], device=inputs.device) if lengths is None else lengths
        places = ends - 1 - (target.places - 1 - target.step)
        return self.value(outputs, places, target, ends)

    def value(self, outputs: Tensor, places: Tensor, target: Target, ends: Tensor | None = None) -> Tensor:
        count = self.task.config.tags
        rows = torch.arange(len(outputs), device=outputs.device)
        if target.index >= count:
            ends = torch.full_like(rows, outputs.shape[1]) if ends is None else ends
            return _at(outputs, ends - 1)[:, count:].log_softmax(-1)[:, target.index - count]
        scores = outputs[..., :count]
        if self.task.field is None:
            return _at(scores, places).log_softmax(-1)[:, target.index]
        field = self.task.field
        given = field["transitions"], field["start"], field["end"]
        only = scores.new_full((len(rows), count), -1e4)
        only[:, target.index] = 0.0
        held = torch.zeros_like(scores)
        held[rows, places.clamp(min=0)] = only
        whole = log_partition(scores.transpose(0, 1), *given, ends)
        return log_partition((scores + held).transpose(0, 1), *given, ends) - whole


class AskTranslator(Asker):
    """A translation as it is written: steps are the tokens that the decoder reads; what explains them is the source."""

    remark: ClassVar[Both | None] = {
        "en": "What was said before stays as it was: explanations are of the source.",
        "zh": "已经译出的部分保持不变：解释的是原文。",
    }

    def __init__(self, task: Any, raw: Any) -> None:
        super().__init__(task, raw)
        with torch.no_grad():
            began = task.encode_source(self.batch.inputs)
            self.said = [*task.translate(began)[0][0].tokens, task.end]
        self._read = torch.tensor([[task.end, *self.said[:-1]]], device=self.batch.inputs.device)

    def told(self) -> dict[str, Any]:
        """The decoder's tokens, and those of the source beside them."""
        names = [self.task.token(index) for index in self._read[0].tolist()]
        source = texts_of(self.task.codec, self.raw, self.batch.inputs[0])
        return {"kind": "tokens", "texts": names, "source": source}

    def part(self, target: Target) -> Tensor:
        return self.batch.inputs

    @property
    def carries(self) -> bool:
        return False

    @property
    def entries(self) -> list[nn.Module]:
        return [self.task.encoder]

    def run(self) -> Tensor:
        return self.task(self._read, self.task.encode_source(self.batch.inputs))[0]

    def attention(self) -> Tensor:
        """How much each said token looked at each place of the source, [T, S]."""
        with torch.no_grad():
            return self.task.trace(self._read, self.task.encode_source(self.batch.inputs))[2]["attention"][0]

    def outputs(self, given: Tensor) -> Outputs:
        return likeliest_of(given[0], self.task.token)

    def targets(self, given: Tensor) -> list[Target]:
        found = [Target(step, index, self.task.token(index), self.steps) for step, index in enumerate(self.said)]
        return [found[-1], *found[:-1]]

    def again(self, inputs: Tensor, target: Target, lengths: Tensor | None = None, state: Any = None) -> Tensor:
        began = self.task.encode_source(inputs, lengths)
        read = self._read[:, : target.step + 1].expand(len(inputs), -1)
        outputs, _ = self.task(read, began)
        return self.value(outputs, torch.full((len(inputs),), target.step, device=inputs.device), target)

    def value(self, outputs: Tensor, places: Tensor, target: Target) -> Tensor:
        return _at(outputs, places).log_softmax(-1)[:, target.index]


class AskForecaster(Asker):
    """The next value after each row, and the forecast after the last."""

    once: ClassVar[bool] = True

    remark: ClassVar[Both | None] = {
        "en": "Explained is the next value, against a series that stands at its mean.",
        "zh": "解释的是下一个值，与停在均值上的序列相比。",
    }

    def run(self) -> Tensor:
        # row by row as a series is followed, but not by the short way of a single row, which no cell takes part in
        state = self.task.advance(self.batch.inputs, self.task.initial_state(1))[2]
        return self.task.forecast(state)

    @property
    def columns(self) -> list[tuple[str, int]]:
        """The value and what stands beside it; between them is the number of the series."""
        names = [name for part in self.task.codec.columns for name in part]
        return [("value", 0), *((name, 2 + place) for place, name in enumerate(names))]

    def told(self) -> dict[str, Any]:
        codec, values = self.task.codec, self.batch.inputs[0].cpu().double().numpy()
        beside = values[:, 2:] * np.array(codec.spreads) + np.array(codec.centres)
        values = np.concatenate([values[:, :1], beside], axis=1)
        return {"kind": "rows", "columns": [name for name, _ in self.columns], "values": values}

    def outputs(self, given: Tensor) -> Outputs:
        if self.steps > MOST_ANSWERS:
            return [None] * (self.steps - 1) + [float(given[0, 0, 0])]
        found: Outputs = []
        state = self.task.initial_state(1)
        for step in range(self.steps):
            state = self.task.advance(self.batch.inputs[:, step : step + 1], state)[2]
            found.append(float(self.task.forecast(state)[0, 0, 0]))
        return found

    def targets(self, given: Tensor) -> list[Target]:
        horizon = given.shape[1]
        return [
            Target(self.steps - 1, ahead, f"{1 + ahead} ahead", self.steps, unit="value")
            for ahead in dict.fromkeys((horizon - 1, 0))
        ]

    def answers(self, inputs: Tensor, lengths: Tensor | None = None, state: Any = None) -> Tensor:
        begun = self.task.initial_state(len(inputs)) if state is None else state
        return self.task.forecast(self.task.advance(inputs, begun, lengths)[2])

    def value(self, outputs: Tensor, places: Tensor, target: Target) -> Tensor:
        return outputs[:, target.index, 0]

    def reference(self, inputs: Tensor) -> Tensor:
        level = inputs[..., :1].mean(dim=1, keepdim=True).expand_as(inputs[..., :1])
        return torch.cat([level, inputs[..., 1:2], torch.zeros_like(inputs[..., 2:])], dim=-1)


KINDS: dict[type[Task], type[Asker]] = {
    LanguageModel: AskLanguage,
    WordByWord: AskWordByWord,
    Classifier: AskWhole,
    ClassifierEnsemble: AskWhole,
    Regressor: AskWhole,
    RegressorEnsemble: AskWhole,
    Tagger: AskTagger,
    Translator: AskTranslator,
    Forecaster: AskForecaster,
}


def asker(task: Task, raw: Any) -> Asker:
    """The one for an input. Raises `UsageError` for a task that has none, `DataError` for what the model cannot read."""
    kind = next((KINDS[one] for one in type(task).__mro__ if one in KINDS), None)
    if kind is None:
        raise UsageError("There is no look into a model of this class", got=type(task).__name__)
    return kind(task, raw)


def texts_of(codec: TextCodec, raw: Any, inputs: Tensor) -> list[str]:
    """Tokens as they stand in the text, so that an unknown one is shown as it is written."""
    ids: Sequence[int] = (inputs if inputs.dim() == 1 else inputs[:, 0]).tolist()
    if codec.level == "characters" and len(raw) == len(ids):
        return list(raw)
    if codec.level == "words":
        words = codec.words_of(raw)
        if len(words) == len(ids):
            return words
    return [codec.token(index) for index in ids]
