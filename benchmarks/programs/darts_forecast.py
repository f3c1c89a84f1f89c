"""RNNModel of darts: a deep LSTM trained with Lightning on fifty made-up series; `torch.nn.LSTM` is ours meanwhile.

darts builds its network in `fit`, by the name "LSTM" in torch.nn: so the change is one name, and no model to convert.
"""

# The program is installed by whoever wants to run this.
# pyright: reportMissingImports=false

from __future__ import annotations

import logging
import tempfile
import warnings
from functools import partial
from typing import Any

import torch
from sides import Clock, Outcome, need, show, weights_of
from torch import nn

import recurra.nn as ours

need("darts", "darts pytorch-lightning")
need("pytorch_lightning", "darts pytorch-lightning")

import numpy as np  # noqa: E402
from darts import TimeSeries  # noqa: E402
from darts.models import RNNModel  # noqa: E402
from pytorch_lightning.callbacks import Callback  # noqa: E402

for name in ("darts", "pytorch_lightning", "lightning.pytorch", "pytorch_lightning.utilities.rank_zero"):
    logging.getLogger(name).setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="pytorch_lightning|torch.utils.data|darts")

THEIRS = nn.LSTM


class Losses(Callback):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(float(outputs["loss"].detach()))


def series(count: int) -> list[Any]:
    draw = np.random.default_rng(0)
    steps = np.arange(120)
    made: list[Any] = []
    for _ in range(count):
        values = np.sin(2 * np.pi * steps / 12 + draw.uniform(0, 6)) * draw.uniform(0.5, 1.5) + 0.01 * steps
        made.append(TimeSeries.from_values((values + 0.1 * draw.normal(size=120)).astype(np.float32)))
    return made


def train(kind: type[nn.Module]) -> Outcome:
    given, clock, seen = series(50), Clock(), Losses()
    nn.LSTM = kind  # type: ignore[misc]
    try:
        with tempfile.TemporaryDirectory() as folder:
            model = RNNModel(
                input_chunk_length=24, training_length=60, model="LSTM", hidden_dim=64, n_rnn_layers=2, dropout=0.1,
                batch_size=32, n_epochs=1, random_state=0, work_dir=folder, save_checkpoints=False,
                pl_trainer_kwargs={
                    "accelerator": "cpu", "callbacks": [seen], "enable_progress_bar": False, "logger": False,
                    "enable_model_summary": False, "enable_checkpointing": False,
                },
            )  # fmt: skip
            with clock("fit, 1 epoch"):
                model.fit(given)
            with clock("predict, 60 steps of 50 series"):
                forecasts = model.predict(60, series=given, verbose=False)
    finally:
        nn.LSTM = THEIRS  # type: ignore[misc]
    assert type(model.model.rnn) is kind
    predictions = torch.stack([torch.from_numpy(one.values()) for one in forecasts])
    return Outcome(seen.losses, predictions, weights_of(model.model), clock.seconds)


if __name__ == "__main__":
    show(
        "darts RNNModel, LSTM 64, 2 layers, dropout",
        {"torch": partial(train, THEIRS), "converted": partial(train, ours.LSTM)},
    )
