"""Several networks of one kind that answer together: the mean of what they say, and by choice a voice of fixed convolutions.

It is one model: trained in one run (each step trains every member, on inputs changed and dropped its own way), kept in one
folder, streamed with one state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field
from torch import Tensor, nn

from recurra.config import Config
from recurra.data.batches import Batch, Feed
from recurra.data.codecs import LabelCodec
from recurra.data.target_codec import TargetCodec
from recurra.errors import ModelError, UsageError
from recurra.layers import ProbesConfig, Stack
from recurra.models.classifier import Classifier, ClassifierConfig
from recurra.models.regressor import Regressor, RegressorConfig
from recurra.models.task import Answer, Task, time_first
from recurra.models.voice import Voice
from recurra.models.whole import Codec, Whole, WholeConfig
from recurra.state import State, check_like, state_class

LEAST = 1e-12
"""No class is less likely than that."""


@state_class
class EnsembleState:
    """The states of the members, and that of the voice: an empty tuple where there is none."""

    members: State
    voice: State


class EnsembleConfig(Config):
    """`members` networks, each as `member` says; by choice `probes` beside them, which have so much `share` in the answer."""

    form: Literal["ensemble"] = "ensemble"
    members: int = Field(default=3, gt=0, le=64)
    probes: ProbesConfig | None = None
    share: float = Field(default=0.5, gt=0, lt=1)


class ClassifierEnsembleConfig(EnsembleConfig):
    """Of classifiers."""

    member: ClassifierConfig


class RegressorEnsembleConfig(EnsembleConfig):
    """Of regressors."""

    member: RegressorConfig


ConfigT = TypeVar("ConfigT", ClassifierEnsembleConfig, RegressorEnsembleConfig)


class Ensemble(Task[ConfigT]):
    """Members that read the same inputs; raw things, losses and measures are left to the first."""

    def __init__(self, config: ConfigT, make: Callable[[], Whole[Any]]) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(make() for _ in range(config.members))
        self.causal = self.first.causal
        self.voice: Voice | None = None
        if config.probes is not None:
            member: WholeConfig = config.member
            if self.first.embedding is not None or member.features is None or member.flat or member.single:
                raise UsageError("Probes read numbers step by step", got="a model of texts or of whole pictures")
            self.voice = Voice(
                self.first.filling(member.features), member.features, config.probes, len(self.first.bias)
            )

    @property
    def first(self) -> Whole[Any]:
        return self.members[0]  # pyright: ignore[reportReturnType] (ModuleList forgets what it holds)

    @property
    def stack(self) -> Stack:  # pyright: ignore[reportIncompatibleVariableOverride] (the stack of the first stands for all)
        return self.first.stack

    @property
    def codec(self) -> Codec:
        return self.first.codec

    def learn(self, dataset: Any) -> None:
        """Fit the voice to the training data, where there is one."""
        if self.voice is None:
            return
        targets = self.first.targets(dataset)
        assert targets is not None
        self.voice.learn(self.first.rows_of(dataset.inputs), targets, classes=self.kind == "classify")

    # ---- the network

    def initial_state(self, batch: int) -> EnsembleState:
        voice = () if self.voice is None else self.voice.initial_state(batch)
        return EnsembleState(tuple(member.initial_state(batch) for member in self._members()), voice)

    def _run(
        self, inputs: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, EnsembleState, dict[str, Tensor]]:
        if not isinstance(state, EnsembleState):
            check_like(state, self.initial_state(inputs.shape[0]))
        answers, after = [], []
        inner: dict[str, Tensor] = {}
        for place, (member, before) in enumerate(zip(self._members(), state.members, strict=True)):
            if keep:
                outputs, now, values = member.trace(inputs, before, lengths, resets)
                inner |= {f"members.{place}.{name}": value for name, value in values.items()}
            else:
                outputs, now = member(inputs, before, lengths, resets)
            answers.append(outputs)
            after.append(now)
        voice: Any = ()
        said: Tensor | None = None
        if self.voice is not None:
            said, voice = self.voice(inputs.transpose(0, 1), state.voice, lengths, time_first(resets))
        return self._together(answers, said), EnsembleState(tuple(after), voice), inner

    def _together(self, answers: Sequence[Tensor], said: Tensor | None) -> Tensor:
        """What the members and the voice say -> what the ensemble says: a mean of numbers."""
        return self._mixed(answers, said)

    def _mixed(self, answers: Sequence[Tensor], said: Tensor | None) -> Tensor:
        total = answers[0]
        for answer in answers[1:]:
            total = total + answer
        mean = total / len(answers)
        return mean if said is None else (1 - self.config.share) * mean + self.config.share * said

    def _members(self) -> list[Whole[Any]]:
        return list(self.members)  # pyright: ignore[reportReturnType]

    # ---- between raw things and tensors: as the first

    def feed(
        self, dataset: Any, *, rows: int, steps: int, training: bool, seed: int = 0, store: Path | None = None
    ) -> Feed:
        return self.first.feed(dataset, rows=rows, steps=steps, training=training, seed=seed, store=store)

    def _encoded(self, raw: Sequence[Any]) -> Batch:
        return self.first.encode(raw)

    def is_one(self, raw: Any) -> bool:
        return self.first.is_one(raw)

    def decode(self, outputs: Tensor, *, top: int = 5) -> list[Answer]:
        return self.first.decode(outputs, top=top)

    # ---- what is optimised and measured

    def loss(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, int]:
        return self.first.loss(outputs, batch)

    def step_loss(self, batch: Batch, state: Any = None) -> tuple[Tensor, int, Any]:
        """The mean of the members' own losses: each learns to answer by itself."""
        if not self.training:
            return super().step_loss(batch, state)
        state = self._begin(batch.inputs, state)
        after: list[Any] = []
        total, count = batch.inputs.new_zeros((), dtype=self.first.bias.dtype), 0
        for member, before in zip(self._members(), state.members, strict=True):
            loss, count, now = member.step_loss(batch, before)
            total = total + loss / len(self.members)
            after.append(now)
        return total, count, EnsembleState(tuple(after), state.voice)

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return self.first.measure(outputs, batch)

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        return self.first.metrics(sums)

    # ---- on disk and for people

    def codec_texts(self) -> dict[str, str]:
        return self.first.codec_texts()

    def summary(self) -> dict[str, Any]:
        found = self.first.summary() | {"parameters": self.parameter_count, "members": len(self.members)}
        if self.voice is not None:
            found["fixed convolutions"] = f"{self.voice.probes.hidden:,} counts, ridge regression"
        return found


class ClassifierEnsemble(Ensemble[ClassifierEnsembleConfig]):
    """Classifiers: the mean of their probabilities, as logarithms[B, classes]."""

    kind: ClassVar[str] = Classifier.kind
    best: ClassVar[tuple[str, bool]] = Classifier.best

    def _together(self, answers: Sequence[Tensor], said: Tensor | None) -> Tensor:
        voice = None if said is None else said.softmax(dim=-1)
        return self._mixed([answer.softmax(dim=-1) for answer in answers], voice).clamp(min=LEAST).log()

    @property
    def labels(self) -> LabelCodec:
        assert isinstance(self.first, Classifier)
        return self.first.labels

    @classmethod
    def from_folder(cls, config: Any, folder: Path) -> Self:
        found = ClassifierEnsembleConfig.from_file(config, str(folder))
        return cls(found, lambda: Classifier.from_folder(_member(config, folder), folder))


class RegressorEnsemble(Ensemble[RegressorEnsembleConfig]):
    """Regressors: the mean of their numbers[B, K]."""

    kind: ClassVar[str] = Regressor.kind
    best: ClassVar[tuple[str, bool]] = Regressor.best

    @property
    def numbers(self) -> TargetCodec:
        assert isinstance(self.first, Regressor)
        return self.first.numbers

    @classmethod
    def from_folder(cls, config: Any, folder: Path) -> Self:
        found = RegressorEnsembleConfig.from_file(config, str(folder))
        return cls(found, lambda: Regressor.from_folder(_member(config, folder), folder))


def _member(config: Any, folder: Path) -> Any:
    if not isinstance(config, dict) or "member" not in config:
        raise ModelError(f"{folder}: the configuration names no member", expected="an ensemble's configuration")
    return config["member"]
