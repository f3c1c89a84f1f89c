"""A device without float64, like Apple's: fits, answers, looks and states there, in float32 where sums are wide elsewhere.

The device is a pretended one (`pretended.py`) that refuses a tensor of float64.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pretended import THERE, pretended
from recurra.fitting.fitted import Model
from test_fits_on_another_device import fit
from test_following import forecaster, table
from test_looks_on_another_device import told
from test_other_device import FORMS, close, made, there
from tolerances import TOLERANCES


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["next word", "beside n-grams", "tags", "forecasts"])
def test_a_fit_is_that_of_the_cpu_but_for_last_digits(name: str) -> None:
    here = fit(name, "here", "cpu")
    with pretended(double=False):
        fitted = fit(name, "there", THERE.type)
    rel, least = TOLERANCES[torch.float32, "gradients"]
    for one, other in zip(fitted.task.state_dict().values(), here.task.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=rel, atol=least)


@pytest.mark.parametrize("name", ["language-gru", "classify-beside-ngrams", "regress-fronted", "tag-softmax"])
def test_a_look_and_its_answer(name: str) -> None:
    raw = FORMS.get(name, ["a b c", "d"])
    here = Model(made(name))
    expected = [here.predict(raw), told(here, raw[0])]
    with pretended(double=False):
        model = Model(there(here.task))
        close([model.predict(raw), told(model, raw[0])], expected)


@pytest.mark.parametrize("options", [{"beside": False}, {"lookback": 24}], ids=str)
def test_a_state_goes_from_one_device_to_the_other(options: dict[str, Any]) -> None:
    here = Model(forecaster(**options))
    data = table(30, beside=options.get("beside", True))
    follower = here.follow(data)
    follower.save("here")
    with pretended(double=False):
        model = Model(there(here.task))
        other = model.follow(data)
        other.save("there")
        loaded = model.follow(path="here")
        close(loaded.forecast().to_dict(as_series=False), follower.forecast().to_dict(as_series=False))
    close(here.follow(path="there").forecast().to_dict(as_series=False), follower.forecast().to_dict(as_series=False))
