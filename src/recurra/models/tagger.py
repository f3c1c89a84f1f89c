"""The tagger: a label for each token, read off both sides of it, and by choice one for the sentence.

Above the stack stands a conditional random field, so that the tags of a sentence are chosen together (Huang et al. 2015).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recurra import kernels
from recurra.config import Config
from recurra.data.batches import Batch, BucketFeed, Feed, collate
from recurra.data.codecs import CODEC_FILE, LabelCodec
from recurra.data.datasets import TaggedDataset
from recurra.data.spans import SCHEMES, count_spans, moves_allowed, span_scores, spans_of, split_tag
from recurra.data.text_codec import read_json
from recurra.data.token_codec import TokenCodec
from recurra.data.writing import join_words
from recurra.errors import DataError, ModelError, UsageError
from recurra.layers import Spelling, Stack, StackConfig, fixed_dropout, hidden_tokens
from recurra.models.task import Answer, Task, batch_first, embedding, time_first
from recurra.state import State, check_like, state_class
from recurra.wide import widened

_VERSION = 1
_UNSEEN = -2
"""What stands for a label that training has not seen."""
_FORBIDDEN = -1e4
"""What is added to the score of a move that the scheme does not know, when the likeliest path is looked for."""


@state_class
class TaggerState:
    """The stack's state; belief[B, K], what the filter thinks of the last tag; summary[B, H], what the label is read from.

    `belief` is zero before the first token, and has no columns without a field or for a model that needs the future.
    `summary` is the greatest value each unit has had so far, never below zero, and has no columns where there is no label.
    """

    stack: State
    belief: Tensor
    summary: Tensor


class TaggerConfig(Config):
    """`tags` to choose from for each token, and `labels` for the sentence (0: it has none).

    Inputs are `words` different words, embedded in `embedding` numbers, with `spelling` filters over their characters,
    `parts` different ones in `part_embedding` numbers; where tokens are single characters (`level`), `parts` are pairs of
    them. `decoder`: "crf" chooses the tags of a sentence together, "softmax" each for itself. `dropout_words` is the share of
    words seen once in training (those from number `once` on) that are read as the unknown one there.
    """

    stack: StackConfig = StackConfig(bidirectional=True)
    tags: int = Field(gt=0)
    labels: int = Field(default=0, ge=0)
    level: Literal["words", "characters"] = "words"
    words: int = Field(gt=0)
    parts: int = Field(gt=0)
    once: int = Field(gt=0)
    width: int = Field(gt=0, le=64)
    embedding: int = Field(default=128, gt=0, le=1 << 20)
    part_embedding: int = Field(default=32, gt=0, le=1 << 20)
    spelling: int = Field(default=64, gt=0, le=1 << 20)
    decoder: Literal["crf", "softmax"] = "crf"
    dropout_words: float = Field(default=0.0, ge=0, lt=1)
    dropout_inputs: float = Field(default=0.0, ge=0, lt=1)
    dropout_outputs: float = Field(default=0.0, ge=0, lt=1)


@dataclass(frozen=True)
class Sentences(Batch):
    """A batch that remembers its tokens, for the answers."""

    tokens: tuple[list[str], ...] = ()


@dataclass(frozen=True)
class TaggerCodecs:
    """What a tagger reads and answers with: tokens, tags and their scheme, and labels (None where there are none)."""

    tokens: TokenCodec
    tags: LabelCodec
    scheme: str
    labels: LabelCodec | None = None


class Tagger(Task[TaggerConfig]):
    """Tokens[B, T, 1 + C] -> scores[B, T, K + L]: of each tag at each step and, beside them, of each label.

    The label's are read where a row ends. In a model that needs the future they are the same at every step.
    """

    kind: ClassVar[str] = "tag"
    best: ClassVar[tuple[str, bool]] = ("f1", True)
    separator: ClassVar[str] = " "

    def __init__(self, config: TaggerConfig, codecs: TaggerCodecs) -> None:
        super().__init__()
        tokens, labels = codecs.tokens, codecs.labels
        for what, got, expected in (
            ("tags", len(codecs.tags), config.tags),
            ("labels", 0 if labels is None else len(labels), config.labels),
            ("words", len(tokens.words), config.words),
            ("parts of words", len(tokens.parts), config.parts),
            ("numbers of a token", tokens.width, config.width),
            ("level", tokens.level, config.level),
        ):
            if got != expected:
                raise UsageError(f"The {what} do not fit", got=got, expected=expected)
        self.config = config
        self.codecs = codecs
        self.embedding = embedding(config.words, config.embedding)
        self.spelling: Spelling | None = None
        self.pairs: nn.ParameterDict | None = None
        width = config.embedding
        if config.level == "words":
            self.spelling = Spelling(config.parts, config.part_embedding, config.spelling)
            width += config.spelling
        elif config.width > 1:
            self.pairs = nn.ParameterDict({"embedding": embedding(config.parts, config.part_embedding)})
            width += config.part_embedding * (config.width - 1)
        self.stack = Stack.build(width, config.stack)
        self.causal = self.stack.causal
        if self.causal and config.level == "characters" and config.width > 1:
            raise UsageError("A tagger that reads one way has no neighbours to look at", fix="Learn characters alone")
        self.head = nn.Parameter(torch.empty(config.tags, self.stack.hidden))
        self.bias = nn.Parameter(torch.zeros(config.tags))
        nn.init.xavier_uniform_(self.head)
        self.label_head: nn.Parameter | None = None
        self.label_bias: nn.Parameter | None = None
        if config.labels:
            self.label_head = nn.Parameter(torch.empty(config.labels, self.stack.hidden))
            self.label_bias = nn.Parameter(torch.zeros(config.labels))
            nn.init.xavier_uniform_(self.label_head)
        self.field: nn.ParameterDict | None = None
        if config.decoder == "crf":
            k = config.tags
            sizes = {"transitions": (k, k), "start": (k,), "end": (k,)}
            self.field = nn.ParameterDict({name: nn.Parameter(torch.zeros(size)) for name, size in sizes.items()})
        self._foreign: list[str] = []

    # ---- the network

    def initial_state(self, batch: int) -> TaggerState:
        belief = self.config.tags if self.causal and self.field is not None else 0
        summary = self.stack.hidden if self.config.labels else 0
        return TaggerState(
            self.stack.initial_state(batch), self.bias.new_zeros(batch, belief), self.bias.new_zeros(batch, summary)
        )

    def _run(
        self, inputs: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, TaggerState, dict[str, Tensor]]:
        outputs, after, inner = self._read(inputs, state, lengths, resets, keep)
        belief = self._beliefs(outputs, state, lengths, resets)[1]
        return outputs.transpose(0, 1), TaggerState(after.stack, belief, after.summary), batch_first(inner)

    def _read(
        self, inputs: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool = False
    ) -> tuple[Tensor, TaggerState, dict[str, Tensor]]:
        """Outputs[T, B, K + L], the state but for its belief, and inner values."""
        if not isinstance(state, TaggerState):
            check_like(state, self.initial_state(inputs.shape[0]))
        x = fixed_dropout(self._embedded(inputs), self.config.dropout_inputs, self.training)
        if keep:
            hidden, after, inner = self.stack.trace(x, state.stack, lengths, time_first(resets))
        else:
            hidden, after = self.stack(x, state.stack, lengths, time_first(resets))
            inner = {}
        dropped = fixed_dropout(hidden, self.config.dropout_outputs, self.training)
        scores = kernels.linear(dropped, self.head, self.bias)
        summary = state.summary
        if self.label_head is not None:
            greatest = self._greatest(dropped, summary, lengths, time_first(resets))
            summary = greatest[-1].clone() if len(greatest) else summary.clone()
            logits = kernels.linear(greatest if self.causal else summary[None], self.label_head, self.label_bias)
            scores = torch.cat([scores, logits.expand(len(scores), -1, -1)], dim=2)
        elif summary.shape[1] == 0:
            summary = summary.clone()
        return kernels.without_padding(scores, lengths), TaggerState(after, state.belief, summary), inner

    def _embedded(self, inputs: Tensor) -> Tensor:
        tokens = inputs.transpose(0, 1)
        words, config = tokens[..., 0], self.config
        words = hidden_tokens(words, words >= config.once, config.dropout_words, self.training)
        parts = [F.embedding(words, self.embedding)]
        if self.spelling is not None:
            parts.append(self.spelling(tokens[..., 1:]))
        elif self.pairs is not None:
            parts.append(F.embedding(tokens[..., 1:], self.pairs["embedding"]).flatten(2))
        return torch.cat(parts, dim=2)

    def _greatest(self, hidden: Tensor, before: Tensor, lengths: Tensor | None, resets: Tensor | None) -> Tensor:
        """hidden[T, B, H] -> the greatest value of each unit so far, at each step."""
        values = kernels.without_padding(hidden.clamp(min=0.0), lengths)
        if len(values) == 0:
            return values
        if resets is None:
            # a maximum is the same number in whatever order it is taken
            last = torch.maximum(values.amax(0), before)
            return torch.maximum(values.cummax(0).values, before) if self.causal else last[None]
        found = []
        valid = torch.ones_like(resets)
        if lengths is not None:
            valid = torch.arange(len(values), device=values.device)[:, None] < lengths
        for t in range(len(values)):
            before = torch.where((resets[t] & valid[t])[:, None], torch.zeros_like(before), before)
            before = torch.maximum(before, values[t])
            found.append(before)
        return torch.stack(found)

    def _beliefs(
        self, outputs: Tensor, state: TaggerState, lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The filter's beliefs[T, B, K] at each step of outputs[T, B, K + L], and the last."""
        if self.field is None or not self.causal:
            return outputs[..., :0], state.belief.clone()
        scores = outputs[..., : self.config.tags]
        field = self.field
        return kernels.filtered(scores, field["transitions"], field["start"], state.belief, lengths, time_first(resets))

    # ---- between raw things and tensors

    def feed(
        self,
        dataset: TaggedDataset,
        *,
        rows: int,
        steps: int,
        training: bool,
        seed: int = 0,
        store: Path | None = None,
    ) -> Feed:
        sentences = [
            self._tokens(one, line, dataset.name) for one, line in zip(dataset.tokens, dataset.lines, strict=True)
        ]
        inputs = [torch.from_numpy(self.codecs.tokens.encode(tokens)) for tokens in sentences]
        if dataset.tags is None:
            return BucketFeed(inputs, None, rows, seed=seed, shuffle=training)
        longest = max(map(len, inputs), default=0)
        targets = torch.full((len(inputs), 1 + longest), -1, dtype=torch.int64)
        for row, tags in enumerate(dataset.tags):
            targets[row, 1 : 1 + len(tags)] = torch.tensor([self._tag_id(tag) for tag in tags], dtype=torch.int64)
        labels = self.codecs.labels
        if labels is not None and dataset.labels is not None:
            known = {label: place for place, label in enumerate(labels.labels)}
            targets[:, 0] = torch.tensor([known.get(label, _UNSEEN) for label in dataset.labels])
        return BucketFeed(inputs, targets, rows, seed=seed, shuffle=training)

    @cached_property
    def _tag_ids(self) -> dict[str, int]:
        return {tag: place for place, tag in enumerate(self.codecs.tags.labels)}

    def _tag_id(self, tag: str) -> int:
        """The number of a tag; one that training has not seen gets one beyond, and can only be missed."""
        found = self._tag_ids.get(tag)
        if found is None:
            if tag not in self._foreign:
                self._foreign.append(tag)
            found = len(self._tag_ids) + self._foreign.index(tag)
        return found

    def _encoded(self, raw: Sequence[Any]) -> Sentences:
        tokens = tuple(self._tokens(one, place, "sentence") for place, one in enumerate(raw, 1))
        batch = collate([torch.from_numpy(self.codecs.tokens.encode(one)) for one in tokens])
        return Sentences(batch.inputs, None, batch.lengths, tokens=tokens)

    def _tokens(self, raw: Any, place: int, where: str) -> list[str]:
        if isinstance(raw, str):
            return self.codecs.tokens.cut(raw)
        if not isinstance(raw, Sequence) or not all(isinstance(token, str) for token in raw):
            raise DataError(
                f"Number {place} of {where} cannot be read",
                got=repr(raw)[:60],
                expected="a text, or a list of its words (of its characters, for a model of characters)",
            )
        return list(raw)

    def is_one(self, raw: Any) -> bool:
        return isinstance(raw, str)

    @torch.no_grad()
    def answer(self, batch: Batch, state: Any = None, *, top: int = 5, **choices: Any) -> tuple[list[Answer], Any]:
        """The tags of each row: of the likeliest path from the beginning, by the filter where `state` goes on from another.

        `"decoding"` says which: "viterbi", or "filtered", where each tag is told by the tokens up to its own.
        """
        self._check_asked(top, choices)
        was_training = self.training
        self.eval()
        try:
            begun = self._begin(batch.inputs, state)
            outputs, after, _ = self._read(batch.inputs, begun, batch.lengths, batch.resets)
            beliefs, belief = self._beliefs(outputs, begun, batch.lengths, batch.resets)
        finally:
            self.train(was_training)
        after = TaggerState(after.stack, belief, after.summary)
        streamed = state is not None and self.causal and self.field is not None
        tags = beliefs.argmax(2) if streamed else self._likeliest(outputs, batch.lengths)
        tokens = batch.tokens if isinstance(batch, Sentences) else None
        return self._answers(outputs.transpose(0, 1), tags.T, batch, tokens, streamed, top), after

    def decode(self, outputs: Tensor, *, top: int = 5) -> list[Answer]:
        """Tags and spans (without their text) of each row of outputs[B, T, K + L], none of it padding."""
        tags = self._likeliest(outputs.transpose(0, 1), None)
        return self._answers(outputs, tags.T, Batch(outputs), None, False, top)

    def _likeliest(self, outputs: Tensor, lengths: Tensor | None) -> Tensor:
        """tags[T, B] of outputs[T, B, K + L]."""
        scores = outputs[..., : self.config.tags]
        if self.field is None:
            return scores.argmax(2)
        first, moves, last = self._rules.to(scores.device, scores.dtype).split([1, self.config.tags, 1])
        field = self.field
        return kernels.viterbi(
            scores, field["transitions"] + moves, field["start"] + first[0], field["end"] + last[0], lengths
        )[0]

    @cached_property
    def _rules(self) -> Tensor:
        """[1 + K + 1, K]: zero where a tag may follow the beginning or another tag, and where the end may follow it."""
        allowed, tags = moves_allowed(self.codecs.scheme), self.codecs.tags.labels
        lines = [[allowed(before, tag) for tag in tags] for before in ("O", *tags)]
        lines.append([allowed(tag, "O") for tag in tags])
        return torch.where(torch.tensor(lines), 0.0, _FORBIDDEN)

    def _answers(
        self,
        outputs: Tensor,
        tags: Tensor,
        batch: Batch,
        tokens: Sequence[list[str]] | None,
        streamed: bool,
        top: int,
    ) -> list[Answer]:
        rows, steps = outputs.shape[:2]
        lengths = [steps] * rows if batch.lengths is None else batch.lengths.tolist()
        answers: list[Answer] = []
        labels, found = self._label_answers(outputs, lengths, top), tags.tolist()
        for row, length in enumerate(lengths):
            named = [self.codecs.tags.decode(tag) for tag in found[row][:length]]
            answer: Answer = {} if tokens is None else {"tokens": tokens[row]}
            answer["tags"] = named
            if self.codecs.scheme != "plain":
                spans = spans_of(named, self.codecs.scheme)
                answer["spans"] = [
                    {"type": span.type, "start": span.start, "end": span.end}
                    | ({} if tokens is None else {"text": self._text(tokens[row][span.start : span.end])})
                    for span in spans
                ]
            if labels is not None:
                answer |= labels[row]
            if self.field is not None:
                answer["decoding"] = "filtered" if streamed else "viterbi"
            answers.append(answer)
        return answers

    def _text(self, tokens: list[str]) -> str:
        return "".join(tokens) if self.codecs.tokens.level == "characters" else join_words(tokens)

    def _label_answers(self, outputs: Tensor, lengths: Sequence[int], top: int) -> list[Answer] | None:
        labels = self.codecs.labels
        if labels is None or outputs.shape[1] == 0:
            return None
        probabilities = (
            self._label_scores(outputs, torch.tensor(lengths, device=outputs.device)).cpu().double().softmax(-1)
        )
        values, places = probabilities.topk(min(top, probabilities.shape[1]), dim=-1)
        found = []
        for row_places, row_values in zip(places.tolist(), values.tolist(), strict=True):
            names = [labels.decode(place) for place in row_places]
            found.append({"label": names[0], "probabilities": dict(zip(names, row_values, strict=True))})
        return found

    def _label_scores(self, outputs: Tensor, lengths: Tensor | None) -> Tensor:
        """The label's scores[B, L] where each row of outputs[B, T, K + L] ends."""
        rows, steps = outputs.shape[:2]
        ends = torch.full((rows,), steps, device=outputs.device) if lengths is None else lengths
        places = (ends - 1).clamp(min=0)
        return outputs[torch.arange(rows, device=outputs.device), places, self.config.tags :]

    # ---- what is optimised and measured

    def loss(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, int]:
        """Nats of tags and labels together, and how many tokens they were for. A row with a tag unknown to training is left
        out: nothing could have foretold it."""
        targets = _targets(batch)
        steps, count = outputs.shape[1], self.config.tags
        tags, label = targets[:, 1 : 1 + steps], targets[:, 0]
        lengths = torch.full((len(tags),), steps, device=tags.device) if batch.lengths is None else batch.lengths
        known = (tags < count).all(dim=1)
        lengths = torch.where(known, lengths, 0)
        scores = outputs[..., :count].transpose(0, 1)
        if self.field is None:
            alive = torch.arange(steps, device=tags.device) < lengths[:, None]
            marked = torch.where(alive, tags, -1)
            total = F.cross_entropy(
                scores.transpose(0, 1).flatten(0, 1), marked.flatten(), ignore_index=-1, reduction="sum"
            )
        else:
            field = self.field
            total = kernels.crf_loss(scores, tags.T, field["transitions"], field["start"], field["end"], lengths)
        if self.config.labels and steps:
            logits = self._label_scores(outputs, batch.lengths)
            total = total + F.cross_entropy(logits, label.clamp(min=-1), ignore_index=-1, reduction="sum")
        return total, int(lengths.sum())

    def step_loss(self, batch: Batch, state: Any = None) -> tuple[Tensor, int, Any]:
        # training needs no beliefs
        outputs, after, _ = self._read(batch.inputs, self._begin(batch.inputs, state), batch.lengths, batch.resets)
        return *self.loss(outputs.transpose(0, 1), batch), after

    @torch.no_grad()
    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        targets = _targets(batch).cpu()
        total, count = self.loss(outputs, batch)
        steps = outputs.shape[1]
        lengths = [steps] * len(targets) if batch.lengths is None else batch.lengths.tolist()
        chosen = self._likeliest(outputs.transpose(0, 1), batch.lengths).T.tolist()
        names = [*self.codecs.tags.labels, *self._foreign]
        truth = [
            [names[tag] for tag in row[1 : 1 + length]] for row, length in zip(targets.tolist(), lengths, strict=True)
        ]
        answers = [[names[tag] for tag in row[:length]] for row, length in zip(chosen, lengths, strict=True)]
        spans = torch.zeros(len(self.types), 3, dtype=torch.int64)
        places = {kind: place for place, kind in enumerate(self.types)}
        for kind, counted in count_spans(truth, answers, self.codecs.scheme).items():
            # a type unknown to training stands in the last line
            spans[places.get(kind, -1)] += torch.tensor(counted)
        right = sum(a == b for one, other in zip(truth, answers, strict=True) for a, b in zip(one, other, strict=True))
        sums = {
            "nats": widened(total),
            "count": torch.tensor(count),
            "tokens": torch.tensor(sum(lengths)),
            "right": torch.tensor(right),
            "spans": spans,
            "unscored": ((targets[:, 1:] >= self.config.tags).any(dim=1) | (targets[:, 0] == _UNSEEN)).sum(),
        }
        if self.config.labels and steps:
            label = targets[:, 0]
            found = self._label_scores(outputs, batch.lengths).argmax(-1).cpu()
            sums["labels"] = torch.stack([((found == label) & (label != -1)).sum(), (label != -1).sum()])
            known, size = label >= 0, self.config.labels
            cells = label[known] * size + found[known]
            sums["confusion"] = torch.bincount(cells, minlength=size * size).view(size, size)
        return sums

    @cached_property
    def types(self) -> tuple[str, ...]:
        """The types of spans that there are, and "" for those that training has not seen."""
        tags = [tag for tag in self.codecs.tags.labels if tag != "O"]
        plain = self.codecs.scheme == "plain"
        return (*sorted({tag if plain else split_tag(tag)[1] for tag in tags}), "")

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """There is no loss where a sentence has a tag or a label unknown to training."""
        count, tokens = float(sums["count"]), float(sums["tokens"])
        # one that leaves out what the model does not know would flatter it
        loss = {} if sums["unscored"] else {"loss": float(sums["nats"]) / max(1.0, count)}
        found = {**loss, **span_scores(self.by_type(sums)), "accuracy": float(sums["right"]) / max(1.0, tokens)}
        if "labels" in sums and sums["labels"][1]:
            found["label_accuracy"] = float(sums["labels"][0]) / float(sums["labels"][1])
        return found

    def by_type(self, sums: Mapping[str, Tensor]) -> dict[str, tuple[int, int, int]]:
        """(right, true, answered) spans of each type."""
        rows = zip(self.types, sums["spans"].tolist(), strict=True)
        return {kind: (right, true, answered) for kind, (right, true, answered) in rows if true or answered}

    # ---- on disk

    def codec_texts(self) -> dict[str, str]:
        codecs = self.codecs
        values = {
            "version": _VERSION,
            "scheme": codecs.scheme,
            "tags": codecs.tags.to_json(),
            "labels": None if codecs.labels is None else codecs.labels.to_json(),
            "tokens": codecs.tokens.to_json(),
        }
        return {CODEC_FILE: json.dumps(values, ensure_ascii=False, indent=1) + "\n"}

    @classmethod
    def from_folder(cls, config: Any, folder: Path) -> Self:
        path = folder / CODEC_FILE
        values = read_json(path)
        if values.get("version") != _VERSION:
            raise ModelError(f"{path} has another version", got=values.get("version"), expected=_VERSION)
        if values.get("scheme") not in SCHEMES:
            raise ModelError(f"{path} is damaged", got=f"scheme {values.get('scheme')!r}", expected=", ".join(SCHEMES))
        try:
            labels = None if values.get("labels") is None else LabelCodec.from_json(values["labels"])
            codecs = TaggerCodecs(
                TokenCodec.from_json(values.get("tokens")),
                LabelCodec.from_json(values.get("tags")),
                values["scheme"],
                labels,
            )
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
        return cls(TaggerConfig.from_file(config, str(folder)), codecs)

    def summary(self) -> dict[str, Any]:
        stack, codecs = self.config.stack, self.codecs
        return {
            "cell": stack.cell,
            "hidden": stack.hidden,
            "layers": stack.layers,
            "bidirectional": stack.bidirectional,
            "parameters": self.parameter_count,
            "vocabulary": self.config.words,
            "level": self.config.level,
            "decoder": self.config.decoder,
            "scheme": codecs.scheme,
            "tags": list(codecs.tags.labels),
            **({} if codecs.labels is None else {"labels": list(codecs.labels.labels)}),
        }


def _targets(batch: Batch) -> Tensor:
    return batch.answers("These sentences have no tags", expected="a tag for each token")
