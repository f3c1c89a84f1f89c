"""What a task is, told once: how raw things become tensors, what is optimised, what is answered, what is measured.

Training, prediction and streaming sessions use only this class and name no task.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from recurra.config import Config
from recurra.data.batches import Batch, Feed
from recurra.errors import DataError, UsageError
from recurra.kernels import Kept
from recurra.layers import Stack
from recurra.state import State

PIECE = 1 << 14
"""Tokens or steps run at once where only the end matters."""

ConfigT = TypeVar("ConfigT", bound=Config)

Answer = dict[str, Any]
"""What a person gets back for one input: plain numbers, texts and lists, ready for JSON."""

Found = TypeVar("Found")


def naming(encode: Callable[[Sequence[Any]], Found], rows: Sequence[Any], called: Callable[[int], str]) -> Found:
    """`encode(rows)`. Where one of several rows is refused, the `DataError` says what it is `called` by its place."""
    try:
        return encode(rows)
    except DataError as error:
        for place, row in enumerate(rows if len(rows) > 1 else ()):
            try:
                encode([row])
            except DataError as own:
                raise DataError(f"{called(place)}: {own}") from error
        raise


class Task(nn.Module, ABC, Generic[ConfigT]):
    """A model for one task: codecs, a stack of recurrent blocks, and a head.

    Batch first. `forward` accepts `state=None` for the beginning. Sums come with counts, so that batches, workers and
    splits add up.
    """

    kind: ClassVar[str]
    config: ConfigT
    causal: bool
    stack: Stack
    best: ClassVar[tuple[str, bool]]
    """The metric that chooses the best weights, and whether more of it is better."""
    tallies: ClassVar[tuple[str, ...]] = ()
    """How the names of those leaves of the state begin that count what was read, and are no units of a network."""
    separator: ClassVar[str] = ""
    """What stands between two lines of one stream of text."""
    streams: ClassVar[bool] = True
    """Whether the state after one input goes on into the next; otherwise each begins anew."""
    unstreamed: ClassVar[str] = (
        "Nothing was measured as a stream: each input begins anew, and no state goes on from one to the next."
    )
    """What is said of a model that does not stream so."""

    # ---- the network

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The state before anything was read, for `batch` rows."""

    @abstractmethod
    def _run(
        self, inputs: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        """Outputs, last state and, if `keep`, inner values."""

    def forward(
        self, inputs: Tensor, state: Any = None, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """inputs[B, T] or [B, T, F], a state or None, lengths[B], resets[B, T] -> outputs and the next state."""
        outputs, state, _ = self._run(inputs, self._begin(inputs, state), lengths, resets, keep=False)
        return outputs, state

    def trace(
        self, inputs: Tensor, state: Any = None, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        """As `forward`, and the inner values of every step by name ("0.r", "1.outputs", ...), each [B, T, H]."""
        return self._run(inputs, self._begin(inputs, state), lengths, resets, keep=True)

    @property
    def symbols(self) -> int | None:
        """How many tokens there are for it to read, or None where it does not answer after each token."""
        return None

    def kept(self) -> Kept | None:
        """The whole way from a token to the outputs with its weights packed, for sessions; None where that is not possible.

        Only for models that answer after each token.
        """
        return None

    def _begin(self, inputs: Tensor, state: Any) -> Any:
        return self.initial_state(inputs.shape[0]) if state is None else state

    # ---- between raw things and tensors

    @abstractmethod
    def feed(
        self, dataset: Any, *, rows: int, steps: int, training: bool, seed: int = 0, store: Path | None = None
    ) -> Feed:
        """A dataset as batches: raw in, tensors out. Raises `DataError` for what this model cannot read.

        `store` is a folder for what does not fit into memory; it is used again where the same stands in it already.
        """

    @property
    def device(self) -> torch.device:
        """Where the weights are. What `encode` and `batches` give is there too; other tensors have to be moved there."""
        return next(self.parameters()).device

    def encode(self, raw: Sequence[Any]) -> Batch:
        """Raw inputs as one batch without targets, on the model's device. Raises `DataError` for what it cannot read."""
        return self._encoded(raw).to(self.device)

    @abstractmethod
    def _encoded(self, raw: Sequence[Any]) -> Batch:
        """As `encode`, in plain memory."""

    def batches(self, feed: Feed) -> Iterator[Batch]:
        """The first epoch of a feed, on the model's device."""
        device = self.device
        return (batch.to(device) for batch in feed.batches(0))

    @abstractmethod
    def is_one(self, raw: Any) -> bool:
        """Whether this is a single input and not a list of them."""

    @abstractmethod
    def decode(self, outputs: Tensor, *, top: int = 5) -> list[Answer]:
        """Outputs as answers, one a row."""

    # ---- what is optimised and measured

    @abstractmethod
    def loss(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, int]:
        """The sum of the losses in nats, and how many there were."""

    def step_loss(self, batch: Batch, state: Any = None) -> tuple[Tensor, int, Any]:
        """What a step of training asks for: the sum of the losses of a batch in nats, how many there were, the next state.

        It is `loss` of `forward`; a task overrides it where it can tell the loss without all of the outputs.
        """
        outputs, state = self(batch.inputs, state, batch.lengths, batch.resets)
        return *self.loss(outputs, batch), state

    @abstractmethod
    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Numbers that add up over batches, the loss among them."""

    def step_measure(self, batch: Batch, state: Any = None, quick: bool = False) -> tuple[dict[str, Tensor], Any]:
        """What evaluation asks for: the numbers of a batch that add up, and the next state.

        It is `measure` of `forward`; a task overrides it where a batch takes more than one pass over its inputs, and does
        less where it is to be `quick`, as while a model is trained.
        """
        outputs, state = self(batch.inputs, state, batch.lengths, batch.resets)
        return self.measure(outputs, batch), state

    @contextmanager
    def as_used(self, feed: Feed) -> Iterator[None]:
        """Inside it the weights are what they will be in use: with what is learnt of validation data, here those of `feed`.

        So weights are chosen by the figure that they will give, and kept as they were measured.
        """
        yield

    @abstractmethod
    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """The metrics that the added-up numbers mean."""

    # ---- on disk

    @abstractmethod
    def codec_texts(self) -> dict[str, str]:
        """What besides config and weights makes the model: file name -> content."""

    @classmethod
    @abstractmethod
    def from_folder(cls, config: Any, folder: Path) -> Self:
        """An untrained model of this kind from a configuration and the codec files in `folder`."""

    # ---- for people

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """What the model is, in words and numbers."""

    @property
    def parameter_count(self) -> int:
        """How many numbers are learnt. It does not depend on the length of a sequence."""
        return sum(parameter.numel() for parameter in self.parameters())

    def predict(self, raw: Any, *, top: int = 5, rows: int = 64, **choices: Any) -> list[Answer]:
        """An answer for each raw input (a list of them, or one); `choices` are those of `answer`."""
        if not isinstance(raw, Iterable):
            raise DataError(
                "There is nothing to answer for", got=type(raw).__name__, expected="a list of inputs, or a text"
            )
        items = [raw] if self.is_one(raw) else list(raw)
        answers: list[Answer] = []
        for start in range(0, len(items), rows):
            batch = naming(
                self.encode, items[start : start + rows], lambda place, start=start: f"Input {start + place + 1}"
            )
            answers += self.answer(batch, top=top, **choices)[0]
        return answers

    @torch.no_grad()
    def answer(self, batch: Batch, state: Any = None, *, top: int = 5, **choices: Any) -> tuple[list[Answer], Any]:
        """An answer after the last valid step of each row, and the state there. `choices` are for tasks that have some."""
        self._check_asked(top, choices)
        was_training = self.training
        self.eval()
        try:
            outputs, state = self.read(batch, state)
        finally:
            self.train(was_training)
        return self.decode(outputs, top=top), state

    def _check_asked(self, top: int, choices: Mapping[str, Any]) -> None:
        if choices:
            raise UsageError(f"A model of kind '{self.kind}' has no such choice", got=", ".join(choices))
        if type(top) is not int or top < 1:
            raise UsageError("'top' is out of range", got=top, expected="1 or more")

    def read(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        """The outputs[B, ...] at the last valid step of each row, and the state there.

        A long sequence goes through in pieces, so that what it takes does not grow with its length; a model that
        needs the future takes it whole.
        """
        batch = batch.to(self.device)
        inputs, lengths = batch.inputs, batch.lengths
        (rows, steps), device = inputs.shape[:2], inputs.device
        shortest = steps if lengths is None else min(lengths.tolist(), default=steps)
        if lengths is None:
            lengths = torch.full((rows,), steps, device=device)
        piece = max(1, PIECE // rows) if self.causal else max(1, steps)
        state = self._begin(inputs, state)
        last: Tensor | None = None
        for start in range(0, max(1, steps), piece):
            part = inputs[:, start : start + piece]
            left = (lengths - start).clamp(0, part.shape[1])
            outputs, state = self(part, state, None if shortest >= start + part.shape[1] else left)
            if outputs.dim() == 3:
                ends = outputs[torch.arange(rows, device=device), (left - 1).clamp(min=0)]
                outputs = ends if last is None else torch.where((left > 0)[:, None], ends, last)
            last = outputs
        assert last is not None
        return last, state


@contextmanager
def frozen_weights(task: nn.Module) -> Iterator[None]:
    """Where gradients of states or inputs alone are asked for: those of the weights would cost more than all the rest."""
    learnt = [parameter for parameter in task.parameters() if parameter.requires_grad]
    for parameter in learnt:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learnt:
            parameter.requires_grad_(True)


def time_first(resets: Tensor | None) -> Tensor | None:
    """resets[B, T] -> [T, B]."""
    return None if resets is None else resets.T


def batch_first(inner: dict[str, Tensor]) -> dict[str, Tensor]:
    """Traced values [T, B, H] -> [B, T, H]."""
    return {name: value.transpose(0, 1) for name, value in inner.items()}


def embedding(symbols: int, width: int) -> nn.Parameter:
    """First values of an embedding[V, E]: normal, each row about as long as 1."""
    values = torch.randn(symbols, width)
    # on no memory at all there is nothing to scale, and torch would load its compiler to do so
    return nn.Parameter(values if values.is_meta else values / math.sqrt(width))
