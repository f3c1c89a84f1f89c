"""Networks that answer together, the voice of fixed convolutions, and the baselines that look at shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import recurra
from networks import NETWORKS
from recurra.baselines.shapes import convolved_predictions, nearest_predictions
from recurra.errors import UsageError
from recurra.layers import Probes, ProbesConfig
from recurra.layers.probes import KERNELS, WIDTH, ProbesState
from recurra.models import ClassifierEnsemble, fingerprint, load_model, save_model
from recurra.models.voice import Voice
from tolerances import assert_close


def waves(rows: int, seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Slow and fast waves with noise, of unequal lengths: the classes differ in shape alone."""
    random = np.random.default_rng(seed)
    inputs, labels = [], []
    for row in range(rows):
        steps, speed = int(random.integers(24, 34)), 0.5 + 0.5 * (row % 2)
        wave = np.sin(speed * np.arange(steps) + random.uniform(0, 6)) + 0.3 * random.normal(size=steps)
        inputs.append(wave[:, None])
        labels.append("ab"[row % 2])
    return inputs, labels


def ensemble(name: str = "classify-ensemble") -> ClassifierEnsemble:
    return next(network for network in NETWORKS if network.name == name).build()


def test_probes_count_what_lies_above_their_thresholds() -> None:
    probes = Probes(1, ProbesConfig(dilations=(2,), thresholds=3)).double()
    torch.nn.init.normal_(probes.thresholds)
    x = torch.randn(30, 1, 1, dtype=torch.float64)
    features, state = probes(x, probes.initial_state(1))
    padded = np.concatenate([np.zeros(16), x[:, 0, 0].numpy()])
    for kernel, limit in ((0, 0), (1, 2), (83, 1)):
        weights = np.where(np.isin(np.arange(WIDTH), KERNELS[kernel]), 2.0, -1.0)
        said = np.array([weights @ padded[step : step + 17 : 2] for step in range(30)])
        # kernels of odd number start where the window is filled
        said = said[16:] if kernel % 2 else said
        wanted = (said > float(probes.thresholds[0, kernel, limit])).mean()
        assert float(features[0, 3 * kernel + limit]) == pytest.approx(wanted)
    assert float(state.steps) == 30


def test_the_laws_hold_where_windows_are_filled() -> None:
    """The sequences of the table of networks are shorter than a window, so that half of the kernels never start there."""
    torch.manual_seed(0)
    probes = Probes(2, ProbesConfig(dilations=(1, 3), thresholds=3))
    torch.nn.init.normal_(probes.thresholds)
    x, begin = torch.randn(40, 3, 2), probes.initial_state(3)
    whole, after = probes(x, begin)
    assert after.counts.view(3, 2, 84, 3)[:, 0, 1::2].any()
    # split, at every tenth step
    state, said = begin, whole
    for part in x.split(10):
        said, state = probes(part, state)
    assert torch.equal(said, whole) and all(map(torch.equal, vars(state).values(), vars(after).values()))
    # rows and padding: each gives what it gives alone, and a row without steps keeps its state
    lengths = torch.tensor([40, 0, 27])
    padded = torch.where(torch.arange(40)[:, None, None] < lengths[:, None], x, torch.nan)
    said, now = probes(padded, after, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = ProbesState(*(leaf[row : row + 1] for leaf in vars(after).values()))
        wanted, end = probes(x[:length, row : row + 1], alone)
        assert torch.equal(said[row : row + 1], wanted)
        for leaf, other in zip(vars(now).values(), vars(end).values(), strict=True):
            assert torch.equal(leaf[row : row + 1], other)
    # a reset is a beginning
    resets = torch.zeros(40, 3, dtype=torch.bool)
    resets[11] = True
    said, now = probes(x, after, resets=resets)
    wanted, end = probes(x[11:], begin)
    assert torch.equal(said, wanted) and all(map(torch.equal, vars(now).values(), vars(end).values()))


def test_thresholds_are_quantiles_of_what_is_said() -> None:
    probes = Probes(2, ProbesConfig.of(60, 2))
    rows = [torch.randn(60, 2) for _ in range(8)]
    probes.learn(rows)
    features, _ = probes(torch.stack(rows, dim=1), probes.initial_state(8))
    assert 0.4 < float(features.mean()) < 0.6 and float(features.std()) > 0.1


def test_the_voice_is_ridge_regression() -> None:
    from sklearn.linear_model import Ridge

    torch.manual_seed(0)
    rows, targets = [torch.randn(20, 1) for _ in range(12)], torch.randn(12, 2, dtype=torch.float64)
    voice = Voice(None, 1, ProbesConfig(thresholds=1), 2)
    voice.learn(rows, targets, classes=False)
    features, _ = voice.probes(torch.stack(rows, dim=1), voice.probes.initial_state(12))
    table = features.double().numpy()
    spread = table.std(axis=0)
    table = (table - table.mean(axis=0)) / np.where(spread > 1e-6, spread, np.inf)
    said, _ = voice(torch.stack(rows, dim=1), voice.initial_state(12))
    fitted = [Ridge(alpha=10.0**power).fit(table, targets.numpy()).predict(table) for power in range(-3, 6)]
    assert min(float(np.abs(said.detach().numpy() - each).max()) for each in fitted) < 1e-3


def test_an_ensemble_is_the_mean_of_what_its_members_say() -> None:
    model = ensemble().eval()
    x = torch.randn(3, 7, 5)
    with torch.no_grad():
        told, _ = model(x)
        members = [member(x)[0].softmax(-1) for member in model.members]
        assert model.voice is not None
        said, _ = model.voice(x.transpose(0, 1), model.voice.initial_state(3))
    wanted = 0.6 * (members[0] + members[1]) / 2 + 0.4 * said.softmax(-1)
    assert_close(told.softmax(-1), wanted)


def test_each_member_learns_and_the_voice_does_not() -> None:
    model = ensemble().train()
    batch = model.encode([np.random.default_rng(0).normal(size=(6, 5)) for _ in range(4)])
    batch = type(batch)(batch.inputs, torch.tensor([0, 1, 2, 0]), batch.lengths)
    total, count, _ = model.step_loss(batch)
    own = [float(member.step_loss(batch)[0].detach()) for member in model.members]  # pyright: ignore[reportCallIssue]
    assert count == 4 and float(total.detach()) == pytest.approx(sum(own) / 2, rel=1e-5)
    total.backward()
    learnt = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {name.split(".")[1] for name in learnt} == {"0", "1"} and not any("voice" in name for name in learnt)


def test_an_ensemble_in_a_folder_is_the_same(tmp_path: Path) -> None:
    model = ensemble("classify-ensemble-holes")
    save_model(model, tmp_path / "m")
    again = load_model(tmp_path / "m")
    assert isinstance(again, ClassifierEnsemble) and fingerprint(again) == fingerprint(model)
    row = np.random.default_rng(0).normal(size=(9, 5))
    row[2, 1] = np.nan
    assert again.predict([row]) == model.predict([row])


def test_a_small_set_is_fitted_by_several_that_stream(tmp_path: Path) -> None:
    inputs, labels = waves(40)
    model = recurra.fit((inputs, labels), epochs=2, hidden=8, members=2, out=tmp_path / "m", quiet=True)
    assert isinstance(model.task, ClassifierEnsemble) and model.task.summary()["members"] == 2
    names = [row["name"] for row in model.record["baselines"]]
    assert names == [
        "majority class",
        "linear model",
        "nearest neighbour",
        "random convolutions",
        "feed-forward network",
    ]
    new, truth = waves(30, seed=1)
    assert model.evaluate((new, truth), quiet=True)["accuracy"] > 0.9
    session = model.session()
    session.push(new[0][:11])
    assert session.push(new[0][11:]) == model.predict([new[0]])[0]


def test_texts_have_members_too_and_no_probes(tmp_path: Path) -> None:
    texts = ["a fine film", "a dull film", "fine and good", "dull and bad"] * 6
    labels = ["good", "bad"] * 12
    model = recurra.fit((texts, labels), epochs=1, hidden=4, members=2, out=tmp_path / "m", quiet=True, baselines=False)
    assert isinstance(model.task, ClassifierEnsemble) and model.task.voice is None
    assert set(model.predict(["fine"])[0]) == {"label", "probabilities"}
    with pytest.raises(UsageError, match="--probes is for numbers and pictures"):
        recurra.fit((texts, labels), probes=True, out=tmp_path / "n", quiet=True)


def test_numbers_are_told_together(tmp_path: Path) -> None:
    inputs, _ = waves(40)
    targets = [float(np.square(row).mean()) for row in inputs]
    model = recurra.fit(
        (inputs, targets), task="regress", epochs=2, hidden=8, members=2, out=tmp_path / "m", quiet=True
    )
    assert model.kind == "regress" and model.task.summary()["members"] == 2
    assert isinstance(model.predict([inputs[0]])[0]["value"], float)


def test_shapes_are_told_by_neighbours_and_by_random_convolutions() -> None:
    train, labels = waves(60)
    new, truth = waves(30, seed=1)
    targets, wanted = (np.array([place == "b" for place in each]).astype(int) for each in (labels, truth))
    rows = [row.astype(np.float32) for row in train]
    asked = {"test": [row.astype(np.float32) for row in new], "none": []}
    near, _ = nearest_predictions(rows, targets, {"train": rows, **asked})
    assert (near["train"] == targets).all() and len(near["none"]) == 0
    found = convolved_predictions(rows, targets, 2, asked)
    assert found is not None and (found[0]["test"] == wanted).mean() > 0.9 and len(found[0]["none"]) == 0
