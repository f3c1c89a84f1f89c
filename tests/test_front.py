"""What numbers go through before the stack: filled, convolved, changed in training; and the regressor, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import recurra
from networks import NETWORKS
from recurra.data.datasets import RegressionDataset
from recurra.data.sequence_codec import SeriesCodec
from recurra.data.target_codec import TargetCodec
from recurra.errors import DataError
from recurra.layers import Augmentation, Convolution, ConvolutionConfig, Filling, StackConfig, augmented, rows_of
from recurra.models import Regressor, RegressorConfig, fingerprint, load_model, save_model
from tolerances import assert_close

NAN = float("nan")


def test_a_convolution_is_torchs_over_inputs_with_zeros_in_front() -> None:
    torch.manual_seed(0)
    layer = Convolution(3, 4, (3,), (1, 2)).double()
    x = torch.randn(7, 2, 3, dtype=torch.float64)
    with torch.no_grad():
        outputs, state = layer(x, layer.initial_state(2))
        parts = []
        for weight, dilation in zip(layer.weights, (1, 2), strict=True):
            seen = F.pad(x.permute(1, 2, 0), (2 * dilation, 0))
            parts.append(F.conv1d(seen, weight.transpose(1, 2), dilation=dilation))
        summed = torch.cat(parts, dim=1).permute(2, 0, 1) + layer.bias
        wanted = F.relu(F.layer_norm(summed, (4,), layer.gain, layer.shift))
    assert_close(outputs, wanted)
    assert torch.equal(state.past, x[-4:].transpose(0, 1))


def test_training_and_inference_convolve_alike_and_gradients_are_right() -> None:
    torch.manual_seed(0)
    layer = Convolution(4, 4, (2, 3), (1, 2)).double()
    x = torch.randn(6, 2, 4, dtype=torch.float64, requires_grad=True)
    state, lengths = layer.initial_state(2), torch.tensor([6, 4])
    recorded, _ = layer(x, state, lengths)
    with torch.no_grad():
        plain, _ = layer(x, state, lengths)
    assert_close(recorded.detach(), plain)
    assert torch.autograd.gradcheck(lambda value: layer(value, state, lengths)[0], (x,))


def test_missing_values_are_filled_as_told() -> None:
    x = torch.tensor([NAN, 2.0, NAN, NAN, 5.0, NAN]).view(6, 1, 1)
    resets = torch.tensor([[0], [0], [0], [1], [0], [0]], dtype=torch.bool)

    def filled(fill: str, resets: torch.Tensor | None = None) -> list[list[float]]:
        layer = Filling(1, fill, marked=True, nothing=[-3.0])  # pyright: ignore[reportArgumentType]
        return layer(x, layer.initial_state(1), None, resets)[0][:, 0].T.tolist()

    marks = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    assert filled("previous") == [[0.0, 2.0, 2.0, 2.0, 5.0, 5.0], marks]
    assert filled("previous", resets) == [[0.0, 2.0, 2.0, 0.0, 5.0, 5.0], marks]
    assert filled("mean") == [[0.0, 2.0, 0.0, 0.0, 5.0, 0.0], marks]
    assert filled("zero") == [[-3.0, 2.0, -3.0, -3.0, 5.0, -3.0], marks]


def test_a_channel_without_a_value_and_infinity_are_named() -> None:
    codec = SeriesCodec.learn([np.array([[1.0, 2.0], [3.0, 5.0]], np.float32)])
    assert np.isnan(codec.encode(np.array([[1, np.nan], [1, 2]]), holes=True)).sum() == 1
    with pytest.raises(DataError, match=r"no value of feature 2. Got: 1 of 2 features missing at every step"):
        codec.encode(np.array([[1, np.nan], [1, np.nan]]), holes=True)
    with pytest.raises(DataError, match="inf at step 2, feature 1"):
        codec.encode(np.array([[1, np.nan], [np.inf, 2]]), holes=True)


def test_alike_features_have_one_scale() -> None:
    codec = SeriesCodec.learn([np.array([[0.0, 4.0], [0.0, 8.0]], np.float32)], alike=True)
    assert codec.mean.tolist() == [3.0, 3.0] and codec.scale == pytest.approx([np.sqrt(11)] * 2)


def test_a_picture_is_moved_as_a_whole() -> None:
    picture = torch.arange(1.0, 26).view(5, 1, 5)
    torch.manual_seed(1)
    moved = [augmented(picture, None, Augmentation(shift=1, edge=-1.0))[:, 0] for _ in range(40)]
    whole = F.pad(picture[:, 0], (1, 1, 1, 1), value=-1.0)
    places = [whole[top : top + 5, left : left + 5] for top in range(3) for left in range(3)]
    seen = [next(at for at, place in enumerate(places) if torch.equal(place, each)) for each in moved]
    assert set(seen) == set(range(9))


def test_time_is_warped_within_the_ends_of_a_row() -> None:
    torch.manual_seed(0)
    x = torch.linspace(0, 1, 20).view(20, 1, 1).repeat(1, 2, 1)
    warped = augmented(x, torch.tensor([20, 10]), Augmentation(warp=0.05))
    assert_close(warped[[0, 19], 0], x[[0, 19], 0])
    assert torch.equal(warped[10:, 1], x[10:, 1]) and 0.001 < (warped - x).abs().max() < 0.3


def test_changes_are_drawn_for_the_whole_batch() -> None:
    x, how = torch.randn(6, 4, 2), Augmentation(jitter=0.1, scale=0.1, warp=0.05)
    torch.manual_seed(0)
    whole = augmented(x, None, how)
    torch.manual_seed(0)
    with rows_of(4, slice(1, 3)):
        part = augmented(x[:, 1:3], None, how)
    assert torch.equal(part, whole[:, 1:3])


def test_a_model_changes_its_inputs_in_training_alone() -> None:
    model = _regressor(augmentation=Augmentation(jitter=1.0))
    x = torch.randn(2, 5, 2)
    assert torch.equal(model.eval()(x)[0], model(x)[0])
    assert not torch.equal(model.train()(x)[0], model(x)[0])


def test_a_picture_that_is_one_step_is_moved_as_a_picture() -> None:
    whole = _regressor(flat=4, augmentation=Augmentation(shift=1, edge=7.0))
    pictures = torch.randn(3, 4, 2)
    torch.manual_seed(5)
    wanted = augmented(pictures.transpose(0, 1), None, Augmentation(shift=1, edge=7.0)).transpose(0, 1)
    torch.manual_seed(5)
    moved = whole._changed(pictures.reshape(1, 3, 8), None, Augmentation(shift=1, edge=7.0))
    assert torch.equal(moved, wanted.reshape(1, 3, 8)) and not torch.equal(moved, pictures.reshape(1, 3, 8))


# ---- the regressor


def _regressor(**options: object) -> Regressor:
    torch.manual_seed(0)
    codec = SeriesCodec(np.zeros(2), np.ones(2))
    numbers = TargetCodec(["a", "b"], np.array([1.0, 0.0]), np.array([2.0, 1.0]))
    config = RegressorConfig(stack=StackConfig(hidden=4), features=2, targets=2, **options)  # pyright: ignore[reportArgumentType]
    return Regressor(config, numbers, codec)


def test_the_measures_of_a_regressor_by_hand() -> None:
    model = _regressor()
    rows = [np.zeros((3, 2), np.float32)] * 2
    dataset = RegressionDataset(rows, [(1.0, 1.0), (5.0, -1.0)], ("a", "b"), [1, 2], "x")
    [batch] = model.feed(dataset, rows=2, steps=1, training=False).batches(0)
    assert batch.targets is not None and batch.targets.tolist() == [[0.0, 1.0], [2.0, -1.0]]
    outputs = torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    total, count = model.loss(outputs, batch)
    assert (float(total), count) == (0.5 * (0.5 + 0.5), 2)
    # in their own units: a is wrong by 0 and 2, b by 1 and 0
    found = model.metrics(model.measure(outputs, batch))
    assert found["mse"] == pytest.approx((4 + 1) / 4) and found["mae"] == pytest.approx(3 / 4)
    assert found["r2"] == pytest.approx(((1 - 4 / 8) + (1 - 1 / 2)) / 2)
    assert model.decode(outputs) == [{"values": {"a": 1.0, "b": 0.0}}, {"values": {"a": 3.0, "b": -1.0}}]


def test_a_regressor_in_a_folder_is_the_same(tmp_path: Path) -> None:
    model = _regressor(
        missing="zero", marked=True, summary="all", convolution=ConvolutionConfig(channels=4, layers=1, widths=(2,))
    ).eval()
    save_model(model, tmp_path / "m")
    again = load_model(tmp_path / "m")
    assert fingerprint(again) == fingerprint(model)
    row = np.array([[1.0, np.nan], [0.5, 2.0]])
    assert again.predict([row]) == model.predict([row])


def test_numbers_with_holes_are_fitted_predicted_and_streamed(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [random.normal(size=(int(random.integers(6, 12)), 2)) for _ in range(40)]
    targets = [float(row[:, 0].mean() + 3) for row in rows]
    for row in rows[::4]:
        row[2, 1] = np.nan
    model = recurra.fit((rows, targets), task="regress", epochs=3, hidden=8, out=tmp_path / "m", quiet=True)
    assert model.kind == "regress" and set(model.metrics["valid"]) == {"mse", "mae", "r2", "loss"}
    whole = model.predict([rows[0]])[0]["value"]
    session = model.session()
    session.push(rows[0][:3])
    assert session.push(rows[0][3:])["value"] == whole
    names = {row["name"] for row in model.record["baselines"]}
    assert names == {"mean", "linear model", "feed-forward network"}


def test_every_new_part_is_in_the_table_of_laws() -> None:
    names = {network.name for network in NETWORKS}
    assert {"convolution", "filling-previous", "front", "classify-fronted-gru-all", "regress-fronted"} <= names
