"""The table of networks that the laws are tested on: every cell, layer and model behind one face, time first.

A new cell, layer or model is one more row here, and all laws run on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from own_steps import make_minimal, make_mixture
from recurra.cells import CELLS, GRU, RGLRU, Elman
from recurra.data.codecs import LabelCodec, SeriesCodec
from recurra.data.letters import Letters
from recurra.data.series_codec import ForecastCodec
from recurra.data.steps import Step
from recurra.data.target_codec import TargetCodec
from recurra.data.text_codec import TextCodec
from recurra.data.token_codec import TokenCodec
from recurra.layers import (
    Bidirectional,
    Block,
    Convolution,
    ConvolutionConfig,
    Dilated,
    Filling,
    Front,
    ProbesConfig,
    Stack,
    StackConfig,
)
from recurra.models import (
    Classifier,
    ClassifierConfig,
    ClassifierEnsemble,
    ClassifierEnsembleConfig,
    Forecaster,
    ForecasterConfig,
    LanguageModel,
    LanguageModelConfig,
    Regressor,
    RegressorConfig,
    RegressorEnsemble,
    RegressorEnsembleConfig,
    Tagger,
    TaggerCodecs,
    TaggerConfig,
    Translator,
    TranslatorConfig,
)

INPUTS, HIDDEN = 5, 11
CODEC = TextCodec.learn(["abcdefgh"], "characters")


@dataclass(frozen=True)
class Network:
    """One network. `per_step`: it answers at every step; `tokens`: its inputs are whole numbers, `wide` of them a step;
    `holes`: values may be missing.

    `begin`: the state of so many rows that a sequence of it begins with, where that is not the initial one.
    """

    name: str
    make: Callable[[], Any]
    batch_first: bool = False
    per_step: bool = True
    tokens: bool = False
    wide: int | None = None
    holes: bool = False
    begin: Callable[[Any, int], Any] = lambda model, batch: model.initial_state(batch)

    def build(self, dtype: torch.dtype = torch.float32) -> Any:
        """A network with random parameters, biases included, in evaluation mode."""
        torch.manual_seed(3)
        network: nn.Module = self.make().to(dtype).eval()
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.4)
        return network

    def inputs(self, steps: int, batch: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
        """Random inputs, [T, B, I] or whole numbers [T, B]."""
        random = torch.Generator().manual_seed(seed)
        if self.tokens:
            shape = (steps, batch) if self.wide is None else (steps, batch, self.wide)
            return torch.randint(0, CODEC.size, shape, generator=random)
        inputs = torch.randn(steps, batch, INPUTS, generator=random, dtype=torch.float64).to(dtype)
        return inputs.masked_fill(inputs > 0.7, float("nan")) if self.holes else inputs

    def run(
        self, network: Any, inputs: Tensor, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """Time-first inputs -> outputs (time first, or [B, ...] where it answers once) and state."""
        return self._call(network.forward, inputs, state, lengths, resets)[:2]

    def trace(self, network: Any, inputs: Tensor, state: Any, lengths: Tensor | None = None) -> tuple[Tensor, Any, Any]:
        outputs, state, inner = self._call(network.trace, inputs, state, lengths, None)
        if self.batch_first:
            inner = {name: value.transpose(0, 1) for name, value in inner.items()}
        return outputs, state, inner

    def _call(self, function: Any, inputs: Tensor, state: Any, lengths: Any, resets: Any) -> Any:
        if not self.batch_first:
            return function(inputs, state, lengths, resets)
        resets = None if resets is None else resets.T
        outputs, *rest = function(inputs.transpose(0, 1), state, lengths, resets)
        return (outputs.transpose(0, 1) if self.per_step else outputs, *rest)


def _language(cell: str, **options: Any) -> Callable[[], LanguageModel]:
    stack = StackConfig(cell=cell, hidden=HIDDEN, layers=2, residual=True)
    return lambda: LanguageModel(
        LanguageModelConfig(stack=stack, vocabulary=CODEC.size, embedding=INPUTS, **options), CODEC
    )


def _classifier(cell: str, tokens: bool, **options: Any) -> Callable[[], Classifier]:
    bidirectional = options.pop("bidirectional", False)
    stack = StackConfig(cell=cell, hidden=HIDDEN, layers=2, bidirectional=bidirectional)
    codec = CODEC if tokens else SeriesCodec.learn([torch.randn(9, INPUTS).numpy()])
    sizes = {"vocabulary": CODEC.size, "embedding": INPUTS} if tokens else {"features": INPUTS}
    config = ClassifierConfig(stack=stack, classes=3, **sizes, **options)
    return lambda: Classifier(config, LabelCodec(["a", "b", "c"]), codec)


LETTERS = Letters.learn(["abc", "def", "gh"])


def _spelled(**options: Any) -> Classifier:
    words = TextCodec.learn(["a b c d e f g h"], "words")
    config = ClassifierConfig(
        stack=StackConfig(cell="gru", hidden=HIDDEN), classes=3, vocabulary=words.size, embedding=INPUTS,
        letters=len(LETTERS.parts), spelling=4, summary="attention", **options,
    )  # fmt: skip
    return Classifier(config, LabelCodec(["a", "b", "c"]), words, LETTERS)


def _beside(build: Callable[..., Any]) -> Callable[[], Classifier]:
    """With n-grams beside the network that say something."""

    def made() -> Classifier:
        task = build()
        task.ngrams.set(torch.randn_like(task.ngrams.table), torch.randn_like(task.ngrams.bias))
        task.shares.copy_(torch.tensor([0.7, 0.4]))
        return task

    return made


def _tagger(cell: str, tokens: TokenCodec, **options: Any) -> Callable[[], Tagger]:
    stack = StackConfig(cell=cell, hidden=HIDDEN, layers=2, bidirectional=options.pop("bidirectional", False))
    tags, labels = LabelCodec(["B-a", "I-a", "O"]), LabelCodec(["x", "y"])
    level: Any = tokens.level
    config = TaggerConfig(
        stack=stack, tags=3, labels=2, level=level, words=len(tokens.words), parts=len(tokens.parts),
        once=tokens.once, width=tokens.width, embedding=INPUTS, part_embedding=3, spelling=4, **options,
    )  # fmt: skip
    return lambda: Tagger(config, TaggerCodecs(tokens, tags, "BIO", labels))


WORDS = TokenCodec.learn([["abc", "def", "gh", "ijk", "lm", "no", "pq", "rs"]], "words")
SINGLE = TokenCodec.learn([[*"abcdefgh"]], "characters", neighbours=False)


def _translator(cell: str, **options: Any) -> Callable[[], Translator]:
    layers = options.pop("layers", 2)
    config = TranslatorConfig(
        encoder=StackConfig(cell=cell, hidden=4, bidirectional=True),
        stack=StackConfig(cell=cell, hidden=HIDDEN, layers=layers),
        source_vocabulary=CODEC.size,
        target_vocabulary=CODEC.size,
        embedding=INPUTS,
        **options,
    )
    return lambda: Translator(config, CODEC, CODEC)


def _with_sources(model: Translator, batch: int) -> Any:
    """The state after sources of unequal lengths, an empty one among them."""
    random = torch.Generator().manual_seed(batch)
    tokens = torch.randint(0, CODEC.size, (batch, 7), generator=random)
    return model.encode_source(tokens, (torch.arange(batch) * 3 + 2) % 8)


def _forecaster(cell: str = "gru", **options: Any) -> Callable[[], Forecaster]:
    codec = ForecastCodec(
        ("a", "b"), (1.0, 2.0), (("p", "q"), ("k",), ()), (0.0,) * 3, (1.0,) * 3, Step(), options.get("season", 1)
    )
    sizes = {"horizon": 6, "block": 6, "segment": 3, "chunk": 4, "lags": 4, "series": 2, "columns": 3, "ahead": 1}
    config = ForecasterConfig(
        stack=StackConfig(cell=cell, hidden=HIDDEN, layers=2), embedding=3, **{**sizes, **options}
    )
    return lambda: Forecaster(config, codec)


FORECASTERS: dict[str, dict[str, Any]] = {
    "plain": {"segment": 1, "lags": 0},
    "residual": {"beside": False},
    "smoothed": {"smoothing": True, "season": 4, "longer": 8, "output": "laplace"},
    "lookback": {"lookback": 8},
    "stepwise": {"block": 2, "chunk": 2, "output": "quantiles"},
    "logarithm": {"logarithm": True},
}
WINDOWS = ConvolutionConfig(channels=HIDDEN, layers=2, widths=(2, 3), dilations=(1, 2))


def _fronted(cell: str, summary: str, missing: str | None, **options: Any) -> Callable[[], Classifier]:
    return _classifier(
        cell, False, summary=summary, missing=missing, marked=missing is not None, convolution=WINDOWS, **options
    )


def _regressor() -> Regressor:
    config = RegressorConfig(
        stack=StackConfig(cell="gru", hidden=HIDDEN), targets=2, features=INPUTS, summary="all", missing="zero",
        convolution=WINDOWS,
    )  # fmt: skip
    numbers = TargetCodec(["a", "b"], np.zeros(2), np.ones(2))
    return Regressor(config, numbers, SeriesCodec.learn([torch.randn(9, INPUTS).numpy()]))


def _ensemble(missing: str | None) -> Callable[[], ClassifierEnsemble]:
    make = _fronted("gru", "all", missing)
    config = ClassifierEnsembleConfig(
        members=2, member=make().config, probes=ProbesConfig(dilations=(1, 2), thresholds=2), share=0.4
    )
    return lambda: ClassifierEnsemble(config, make)


def _regressors() -> RegressorEnsemble:
    config = RegressorEnsembleConfig(members=2, member=_regressor().config, probes=ProbesConfig(thresholds=1))
    return RegressorEnsemble(config, _regressor)


SOME = ("feedforward", "elman", "gru", "lstm", "rglru", "mlstm")
"""Cells of every kind of kernel, for what is built over stacks: cells and tasks are a sum, not a product."""

NETWORKS: list[Network] = [
    *(Network(name, lambda kind=kind: kind(INPUTS, HIDDEN)) for name, kind in CELLS.items()),
    *(
        Network(f"{name}-reversed", lambda kind=kind: kind(INPUTS, HIDDEN, reverse=True))
        for name, kind in CELLS.items()
    ),
    *(
        Network(
            f"dilated-{name}",
            lambda name=name: Dilated(Stack.build(INPUTS, StackConfig(cell=name, hidden=HIDDEN, layers=2)), 4),
        )
        for name in SOME
    ),
    *(Network(f"forecast-{name}", _forecaster(name), batch_first=True, per_step=False) for name in SOME),
    *(
        Network(f"forecast-{name}", _forecaster(**options), batch_first=True, per_step=False)
        for name, options in FORECASTERS.items()
    ),
    Network("elman-relu", lambda: Elman(INPUTS, HIDDEN, activation="relu")),
    Network("rglru-without-a-product", lambda: RGLRU(INPUTS, INPUTS, project=False)),
    Network("own-minimal-gated", lambda: make_minimal(INPUTS, HIDDEN)),
    Network("own-minimal-gated-reversed", lambda: make_minimal(INPUTS, HIDDEN, reverse=True)),
    Network("own-mixture", lambda: make_mixture(INPUTS, HIDDEN)),
    Network("gru-reset-before", lambda: GRU(INPUTS, HIDDEN, reset_after=False)),
    *(
        Network(
            f"stack-{name}",
            lambda name=name: Stack.build(INPUTS, StackConfig(cell=name, hidden=HIDDEN, layers=3, residual=True)),
        )
        for name in CELLS
    ),
    *(
        Network(f"block-{name}", lambda kind=kind: Block(kind(INPUTS, INPUTS), dropout=0.5, residual=True))
        for name, kind in CELLS.items()
    ),
    *(
        Network(
            f"bidirectional-{name}",
            lambda kind=kind: Bidirectional(kind(INPUTS, HIDDEN), kind(INPUTS, HIDDEN, reverse=True)),
        )
        for name, kind in CELLS.items()
    ),
    *(Network(f"language-{name}", _language(name), batch_first=True, tokens=True) for name in CELLS),
    Network("language-untied", _language("gru", tied=False), batch_first=True, tokens=True),
    *(
        Network(f"classify-text-{name}", _classifier(name, True), batch_first=True, per_step=False, tokens=True)
        for name in CELLS
    ),
    *(Network(f"classify-series-{name}", _classifier(name, False), batch_first=True, per_step=False) for name in SOME),
    *(
        Network(
            f"classify-{name}-{summary}",
            _classifier(name, True, summary=summary),
            batch_first=True,
            per_step=False,
            tokens=True,
        )
        for name in SOME
        for summary in ("max", "attention")
    ),
    Network(
        "classify-both-ways",
        _classifier("gru", True, bidirectional=True),
        batch_first=True,
        per_step=False,
        tokens=True,
    ),
    Network("convolution", lambda: Convolution(INPUTS, INPUTS, (1, 3), (1, 2))),
    *(
        Network(f"filling-{fill}", lambda fill=fill: Filling(INPUTS, fill, marked=fill == "mean"), holes=True)
        for fill in ("previous", "zero", "mean")
    ),
    Network(
        "front",
        lambda: Front([Filling(INPUTS, "previous", marked=True), Convolution(2 * INPUTS, 4, (3,), (2,))]),
        holes=True,
    ),
    *(
        Network(
            f"classify-fronted-{cell}-{summary}",
            _fronted(cell, summary, fill),
            batch_first=True,
            per_step=False,
            holes=fill is not None,
        )
        for cell, summary, fill in (("gru", "all", None), ("lstm", "attention", "previous"), ("gru", "last", "mean"))
    ),
    Network(
        "classify-fronted-both-ways",
        _fronted("gru", "all", "zero", bidirectional=True),
        batch_first=True,
        per_step=False,
        holes=True,
    ),
    Network("regress-fronted", _regressor, batch_first=True, per_step=False, holes=True),
    Network("classify-ensemble", _ensemble(None), batch_first=True, per_step=False),
    Network("classify-ensemble-holes", _ensemble("previous"), batch_first=True, per_step=False, holes=True),
    Network("regress-ensemble", _regressors, batch_first=True, per_step=False, holes=True),
    Network(
        "classify-beside-ngrams",
        _beside(_classifier("lstm", True, ngrams={"longest": 3, "lines": 301})),
        batch_first=True,
        per_step=False,
        tokens=True,
    ),
    Network(
        "classify-spelled-beside-ngrams",
        _beside(lambda: _spelled(ngrams={"longest": 1, "lines": 31})),
        batch_first=True,
        per_step=False,
        tokens=True,
        wide=1 + LETTERS.width,
    ),
    Network("classify-spelled", _spelled, batch_first=True, per_step=False, tokens=True, wide=1 + LETTERS.width),
    *(Network(f"tag-{name}", _tagger(name, WORDS), batch_first=True, tokens=True, wide=WORDS.width) for name in SOME),
    Network("tag-characters", _tagger("gru", SINGLE), batch_first=True, tokens=True, wide=1),
    Network("tag-softmax", _tagger("lstm", WORDS, decoder="softmax"), batch_first=True, tokens=True, wide=WORDS.width),
    Network(
        "tag-both-ways",
        _tagger("gru", WORDS, bidirectional=True),
        batch_first=True,
        tokens=True,
        wide=WORDS.width,
    ),
    *(Network(f"translate-{name}", _translator(name), batch_first=True, tokens=True) for name in SOME),
    *(
        Network(f"translate-{name}-a-source", _translator(name), batch_first=True, tokens=True, begin=_with_sources)
        for name in SOME
    ),
    Network(
        "translate-one-block",
        _translator("gru", layers=1, tied=False),
        batch_first=True,
        tokens=True,
        begin=_with_sources,
    ),
]
