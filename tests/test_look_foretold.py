"""States told by their distance from a guess: every bit comes back, and a large look is smaller for it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recurra.look import packing
from recurra.look.foretold import RULES, nearly_tanh, residues, restored
from recurra.look.packing import Foretold, Rough, packed, unpack

STEPS, UNITS = 40, 7


def case(rule: str) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """(a leaf, gates that tell nearly all of it, the leaf before): as a cell computes them, and some it never would."""
    drawn = np.random.default_rng(0)
    of = {name: drawn.uniform(-1, 1, (STEPS, UNITS)).astype(np.float32) for name in RULES[rule].of}
    values = drawn.standard_normal((STEPS, UNITS)).astype(np.float32)
    initial = drawn.standard_normal(UNITS).astype(np.float32)
    before = initial
    for step in range(STEPS):
        exact = {name: value[step].astype(np.float64) for name, value in of.items()}
        values[step] = before = RULES[rule].guess(exact, before.astype(np.float64)).astype(np.float32)
    values[5] = [0.0, -0.0, np.inf, -np.inf, 3e38, -1e-45, 1e-38]
    of[RULES[rule].of[0]][9] = [np.inf, -np.inf, 0.0, -0.0, 3e38, -3e38, 1.0]
    return values, of, initial


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_every_bit_comes_back(rule: str, reverse: bool) -> None:
    values, of, initial = case(rule)
    values[12, :3] = np.array([0x7FC00000, 0xFFC00001, 0x7F800001], np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        found = residues(values, rule, of, initial, reverse)
        again = restored(found, rule, of, initial, reverse)
    assert again.tobytes() == values.tobytes()


def test_a_state_that_its_gates_tell_is_a_small_number() -> None:
    values, of, _ = case("gru.h")
    rough = {name: value[13:].astype(np.float16) for name, value in of.items()}
    found = residues(values[13:], "gru.h", rough, values[12], False)
    # an exponent less than the gates' is a bit more: half of them are within eleven bits of twenty-four, and four more
    assert np.median(found) < 1 << 15
    assert (residues(values[13:], "gru.h", {n: v[13:] for n, v in of.items()}, values[12], False) == 0).all()


def test_the_fraction_is_near_the_true_tanh() -> None:
    x = np.linspace(-9, 9, 10_001)
    np.testing.assert_allclose(nearly_tanh(x), np.tanh(x), rtol=0, atol=1.2e-4)


def test_a_large_look_tells_states_by_distances_and_a_small_one_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = np.random.default_rng(1)
    z, n = (drawn.uniform(0, 1, (200, 32)).astype(np.float32) for _ in range(2))
    h, before = np.zeros((200, 32), np.float32), np.zeros(32, np.float32)
    for step in range(200):
        h[step] = before = (1 - z[step]) * n[step] + z[step] * before
    parts = {"z": Rough(z), "n": Rough(n)}
    tree = {**parts, "h": Foretold(h, "gru.h", parts, np.zeros(32, np.float32), False)}
    small = json.loads(json.dumps(packed(tree)))
    assert "near" not in small["h"] and (unpack(small["h"]) == h).all()
    monkeypatch.setattr(packing, "HALF_FROM", 1000)
    large = json.loads(json.dumps(packed(tree)))
    assert large["h"]["near"] == "gru.h" and len(large["h"]["data"]) < 0.6 * len(small["h"]["data"])
    of = {name: unpack(large[name]) for name in parts}
    assert of["z"].dtype == np.float16
    assert restored(unpack(large["h"]), "gru.h", of, np.zeros(32, np.float32), False).tobytes() == h.tobytes()
