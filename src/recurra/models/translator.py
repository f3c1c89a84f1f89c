"""The translator: another sequence for a sequence, written a token at a time by a decoder that attends to the source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recurra import kernels
from recurra.cells import Inputs, Symbols
from recurra.data.batches import Batch, Feed, PairFeed
from recurra.data.datasets import PairDataset
from recurra.data.text_codec import TextCodec
from recurra.errors import UsageError
from recurra.layers import Stack, StackConfig, embedded_dropout, fixed_dropout
from recurra.models.beam import Beam, Hypothesis
from recurra.models.beam import search as beam_search
from recurra.models.task import Answer, batch_first, embedding, time_first
from recurra.models.translation import Translation, TranslationConfig, as_rows, codecs_in, targets_of
from recurra.state import State, check_like, leaves, map_state, state_class

SPARE = 10
"""Tokens that a translation may have beyond `ratio` times the length of its source."""


@state_class
class TranslatorState:
    """source[B, S, D], the encoded source, zero past the end of each; lengths[B], the places of each; the decoder's states.

    With it a translation can be stopped, kept and gone on with at any step. An empty source has no places.
    """

    source: Tensor
    lengths: Tensor
    first: State
    rest: State

    ragged: ClassVar[tuple[str, ...]] = ("source",)


class TranslatorConfig(TranslationConfig):
    """Vocabularies are without the token that begins and ends a translation.

    - encoder, stack: the blocks that read the source, in both directions, and those that write.
    - shared: one vocabulary for both sides, with one embedding.
    - tied: the head reuses the embedding of the target (Press and Wolf 2017).
    - smoothing: the share of each target that is spread over all tokens (Szegedy et al. 2016), in training alone.
    - beam, length_penalty: how translations are searched for, `Beam`.
    - ratio: tokens of a translation for each of its source, at most.
    """

    encoder: StackConfig = StackConfig(bidirectional=True)
    stack: StackConfig = StackConfig(layers=2)
    shared: bool = True
    tied: bool = True
    dropout_tokens: float = Field(default=0.0, ge=0, lt=1)
    smoothing: float = Field(default=0.1, ge=0, lt=1)
    beam: int = Field(default=5, gt=0, le=1000)
    length_penalty: float = Field(default=1.0, ge=0, le=10)
    ratio: float = Field(default=2.0, gt=0)


class Translator(Translation[TranslatorConfig]):
    """Target tokens[B, T] and a state with the source -> logits[B, T, V + 1] of the next token; V begins and ends.

    The first block of the decoder reads the tokens, all of them in one call, as in training they are known. Its outputs
    ask the source, and the other blocks read outputs and answers together (Wu et al. 2016, without feeding what was
    answered back into the first block), so that no loop over steps is left.
    """

    def __init__(self, config: TranslatorConfig, source: TextCodec, target: TextCodec) -> None:
        super().__init__()
        if config.stack.bidirectional:
            raise UsageError("A decoder cannot be bidirectional", fix="It would read the answer before giving it")
        if config.shared and source is not target:
            raise UsageError("A shared vocabulary is one codec", got="two")
        self.config = config
        self._take(source, target)
        self.end = target.size
        width = config.embedding
        self.embedding = embedding(target.size + 1, width)
        self.source_embedding = None if config.shared else embedding(source.size, width)
        self.encoder = Stack.build(width, config.encoder)
        places = self.encoder.hidden
        one = config.stack.model_copy(update={"layers": 1})
        self.first = Stack.build(width, one)
        hidden = self.first.hidden
        more = config.stack.model_copy(update={"layers": config.stack.layers - 1})
        self.rest = Stack.build(hidden + places, more) if more.layers else None
        self.causal = True
        self.query = nn.Parameter(torch.empty(places, hidden))
        self.readout = nn.Parameter(torch.empty(width, (self.rest or self.first).hidden + places))
        self.head = None if config.tied else nn.Parameter(torch.empty(target.size + 1, width))
        begun = sum(leaf.shape[1] for leaf in leaves(self._decoder_states(1)).values())
        self.start = nn.Parameter(torch.empty(begun, places)) if begun else None
        for weight in (self.query, self.readout, self.head, self.start):
            if weight is not None:
                nn.init.xavier_uniform_(weight)
        self.bias = nn.Parameter(torch.zeros(target.size + 1))

    # ---- the network

    def _decoder_states(self, batch: int) -> tuple[Any, Any]:
        return self.first.initial_state(batch), () if self.rest is None else self.rest.initial_state(batch)

    def initial_state(self, batch: int) -> TranslatorState:
        """The state of an empty source."""
        nothing = self.bias.new_zeros(batch, 0, self.encoder.hidden)
        return TranslatorState(nothing, nothing.new_zeros(batch, dtype=torch.int64), *self._decoder_states(batch))

    def encode_source(self, tokens: Tensor, lengths: Tensor | None = None) -> TranslatorState:
        """tokens[B, S] of sources, lengths[B] -> the state before the first token of their translations.

        The decoder begins with a projection of the mean over the source; of nothing that is zero.
        """
        config, (batch, steps) = self.config, tokens.shape
        table = self.embedding if self.source_embedding is None else self.source_embedding
        x: Inputs = Symbols(embedded_dropout(table, config.dropout_tokens, self.training), tokens.T)
        x = fixed_dropout(x, config.dropout_inputs, self.training)
        hidden, _ = self.encoder(x, self.encoder.initial_state(batch), lengths)
        source = hidden.transpose(0, 1).contiguous()
        if lengths is None:
            lengths = torch.full((batch,), steps, device=tokens.device)
        states = self._decoder_states(batch)
        if self.start is not None:
            mean = source.sum(dim=1) / lengths.clamp(min=1)[:, None]
            widths = [leaf.shape[1] for leaf in leaves(states).values()]
            values = iter(kernels.linear(mean, self.start).tanh().split(widths, dim=1))
            states = map_state(lambda leaf: next(values).contiguous(), states)
        return TranslatorState(source, lengths.clone(), *states)

    def begin(self, sources: str | Sequence[str]) -> TranslatorState:
        """The state before the first token of the translations of some texts."""
        batch = self.encode([sources] if isinstance(sources, str) else sources)
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                return self.encode_source(batch.inputs, batch.lengths)
        finally:
            self.train(was_training)

    def _run(
        self, inputs: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, TranslatorState, dict[str, Tensor]]:
        if not isinstance(state, TranslatorState) or state.lengths.shape[0] != inputs.shape[0]:
            check_like(state, self.initial_state(inputs.shape[0]))
        hidden, after, inner = self._written(inputs, state, lengths, time_first(resets), keep)
        # a state that comes out shares no memory with the one that went in
        after = TranslatorState(after.source.clone(), after.lengths.clone(), after.first, after.rest)
        return self._logits(hidden).transpose(0, 1), after, batch_first(inner)

    def _logits(self, hidden: Tensor) -> Tensor:
        return kernels.linear(hidden, self.embedding if self.head is None else self.head, self.bias)

    def _written(
        self, inputs: Tensor, state: TranslatorState, lengths: Tensor | None, resets: Tensor | None, keep: bool = False
    ) -> tuple[Tensor, TranslatorState, dict[str, Tensor]]:
        """What the head reads, [T, B, E], time first; the next state; the inner values if `keep`."""
        config = self.config
        table = embedded_dropout(self.embedding, config.dropout_tokens, self.training)
        x = fixed_dropout(Symbols(table, inputs.T), config.dropout_inputs, self.training)
        inner: dict[str, Tensor] = {}
        hidden, first = _through(self.first, x, state.first, lengths, resets, inner if keep else None, "first")
        context, weights = kernels.attention(kernels.linear(hidden, self.query), state.source, state.lengths)
        source, places = state.source, state.lengths
        if resets is not None:
            # a reset drops the source: from there on the row has none
            steps = torch.arange(len(resets), device=resets.device)[:, None]
            counted = resets if lengths is None else resets & (steps < lengths)
            dropped = counted.cumsum(dim=0) > 0
            context = context.masked_fill(dropped[..., None], 0.0)
            weights = weights.masked_fill(dropped[..., None], 0.0)
            if len(resets):
                source, places = source.masked_fill(dropped[-1, :, None, None], 0.0), places.masked_fill(dropped[-1], 0)
        rest: Any = state.rest
        if self.rest is not None:
            x = fixed_dropout(torch.cat([hidden, context], dim=-1), config.stack.dropout, self.training)
            hidden, rest = _through(self.rest, x, state.rest, lengths, resets, inner if keep else None, "rest")
        if keep:
            inner["attention"] = kernels.without_padding(weights, lengths)
        out = kernels.linear(torch.cat([hidden, context], dim=-1), self.readout).tanh()
        out = fixed_dropout(out, config.dropout_outputs, self.training)
        return out, TranslatorState(source, places, first, rest), inner

    @property
    def symbols(self) -> int:
        return self.end + 1

    # ---- between raw things and tensors

    def feed(
        self, dataset: PairDataset, *, rows: int, steps: int, training: bool, seed: int = 0, store: Path | None = None
    ) -> Feed:
        sources = as_rows(self.codec, dataset.sources)
        targets = None
        if dataset.targets is not None:
            targets = [F.pad(ids, (0, 1), value=self.end) for ids in as_rows(self.target_codec, dataset.targets)]
        return PairFeed(sources, targets, rows, seed=seed, shuffle=training)

    # ---- what is answered

    def translate(
        self, state: TranslatorState, *, last: Tensor | None = None, beam: Beam | None = None
    ) -> list[list[Hypothesis]]:
        """The best ways to go on from each row of a state, best first; last[B] are the tokens said last, if any were."""
        if last is None:
            last = torch.full_like(state.lengths, self.end)
        # of an empty source there is nothing to say
        most = torch.where(state.lengths > 0, (state.lengths * self.config.ratio).long() + SPARE, 0)
        beam = beam or Beam(self.config.beam, self.config.length_penalty)
        return beam_search(self._next, state, last, most, self.end, beam)

    def _next(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        hidden, state, _ = self._written(tokens[:, None], state, None, None)
        logits = self._logits(hidden)[0]
        unknown = self.target_codec.unknown
        if unknown is not None:
            logits[:, unknown] = -torch.inf
        return logits.log_softmax(dim=-1), state

    @torch.no_grad()
    def answer(
        self,
        batch: Batch,
        state: Any = None,
        *,
        top: int = 5,
        beam: int | None = None,
        length_penalty: float | None = None,
        **choices: Any,
    ) -> tuple[list[Answer], TranslatorState]:
        """The `top` best translations of each source, and the state before the first token of them.

        Each source begins anew, so no state is gone on from. `beam` and `length_penalty` are those of the configuration
        where they are not given; of a beam no more come than it is wide.
        """
        if choices:
            raise UsageError("A translator has no such choice", got=", ".join(choices), expected="beam, length_penalty")
        if type(top) is not int or top < 1:
            raise UsageError("'top' is out of range", got=top, expected="1 or more")
        width = self.config.beam if beam is None else beam
        search = Beam(width, self.config.length_penalty if length_penalty is None else length_penalty)
        was_training = self.training
        self.eval()
        try:
            after = self.encode_source(batch.inputs, batch.lengths)
            found = self.translate(after, beam=search)
        finally:
            self.train(was_training)
        return [self._answer(each[:top]) for each in found], after

    def _answer(self, found: Sequence[Hypothesis]) -> Answer:
        best = [{"text": self.said(each.tokens), "score": each.score} for each in found]
        return {"translation": best[0]["text"], "score": best[0]["score"], "best": best}

    def decode(self, outputs: Tensor, *, top: int = 5) -> list[Answer]:
        """The likeliest next tokens after the last step of each row of logits[B, T, V + 1] (or [B, V + 1])."""
        last = outputs[:, -1] if outputs.dim() == 3 else outputs
        tokens, values = kernels.likeliest(last.detach(), min(top, last.shape[1]))
        return [
            {"next": [{"token": self.token(one), "probability": value} for one, value in zip(*row, strict=True)]}
            for row in zip(tokens.tolist(), values.tolist(), strict=True)
        ]

    def token(self, index: int) -> str:
        """A target token as a person reads it."""
        return "∎" if index == self.end else self.target_codec.token(index)

    # ---- what is optimised and measured

    def step_loss(self, batch: Batch, state: Any = None) -> tuple[Tensor, int, Any]:
        """The loss without smoothing, in nats, whose gradient is that of the loss with it.

        With the share e spread evenly, the loss is -log p(y) + e (z_y - mean z), z the logits; and as the head is linear
        the second part is h (W_y - mean W) + b_y - mean b: no logits, and none of the kernel's affair.
        """
        targets = targets_of(batch)
        began = self.encode_source(batch.inputs, batch.lengths)
        inputs, lengths = self._shifted(targets)
        hidden, after, _ = self._written(inputs, began, lengths, None)
        targets = targets.T.flatten()
        valid = (targets >= 0).nonzero()[:, 0]
        hidden, chosen = hidden.flatten(0, 1).index_select(0, valid), targets[valid]
        weight = self.embedding if self.head is None else self.head
        total = kernels.cross_entropy(hidden[None], weight, self.bias, chosen[None], None)
        if self.training and self.config.smoothing:
            by_name = F.embedding(chosen, weight) - weight.mean(dim=0)
            extra = self.config.smoothing * ((hidden * by_name).sum() + (self.bias[chosen] - self.bias.mean()).sum())
            total = total + extra - extra.detach()
        return total, len(chosen), after

    def _shifted(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """What the decoder reads where it is to say targets[B, T]: the beginning, then all but the last; and lengths[B]."""
        before = torch.cat([targets.new_full((len(targets), 1), self.end), targets[:, :-1]], dim=1)
        return before.clamp(min=0), (targets >= 0).sum(dim=1)

    def step_measure(self, batch: Batch, state: Any = None, quick: bool = False) -> tuple[dict[str, Tensor], Any]:
        """The loss of the targets as they are, and the statistics of `bleu` and `chrf` of translations; greedy if `quick`."""
        began = self.encode_source(batch.inputs, batch.lengths)
        inputs, lengths = self._shifted(targets_of(batch))
        outputs, after = self(inputs, began, lengths)
        found = self.translate(began, beam=Beam(1) if quick else None)
        said = [self.said(each[0].tokens) for each in found]
        return {**self.measure(outputs, batch), **self.compared(said, batch)}, after

    # ---- on disk

    @classmethod
    def from_folder(cls, config: Any, folder: Path) -> Self:
        settings = TranslatorConfig.from_file(config, str(folder))
        return cls(settings, *codecs_in(folder, settings.shared))

    def summary(self) -> dict[str, Any]:
        config = self.config
        return {
            "cell": config.stack.cell,
            "hidden": config.stack.hidden,
            "layers": config.stack.layers,
            "reading layers": config.encoder.layers,
            "parameters": self.parameter_count,
            "vocabulary": config.source_vocabulary,
            "level": self.codec.level,
            **({} if config.shared else {"target vocabulary": config.target_vocabulary}),
            "bleu counts words by": config.scored,
        }


def _through(
    stack: Stack, x: Inputs, state: Any, lengths: Tensor | None, resets: Tensor | None,
    inner: dict[str, Tensor] | None, name: str,
) -> tuple[Tensor, Any]:  # fmt: skip
    """A stack over a sequence, its inner values into `inner` where they are wanted."""
    if inner is None:
        return stack(x, state, lengths, resets)
    hidden, state, values = stack.trace(x, state, lengths, resets)
    inner |= {f"{name}.{key}": value for key, value in values.items()}
    return hidden, state
