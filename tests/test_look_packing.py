"""Arrays of a look as a page carries them: exact where they must be, small, and refused where they are too many."""

from __future__ import annotations

import base64
import json
import zlib

import numpy as np
import pytest

from recurra.errors import DataError
from recurra.look import packing
from recurra.look.packing import Rough, pack, packed, plain, unpack

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (4, 5), (2, 0, 3)])
def test_single_precision_comes_back_bit_for_bit(shape: tuple[int, ...]) -> None:
    values = np.asarray(RANDOM.standard_normal(shape), dtype=np.float32)
    entry = json.loads(json.dumps(pack(values)))
    assert unpack(entry).tobytes() == values.tobytes()
    assert unpack(entry).shape == shape


def test_what_is_no_number_comes_back() -> None:
    values = np.array([np.nan, np.inf, -np.inf, -0.0], dtype=np.float32)
    assert unpack(pack(values)).tobytes() == values.tobytes()


def test_the_bytes_are_those_that_a_page_expects() -> None:
    """Raw deflate of the lowest bytes, then the next ones: 1.0 is 00 00 80 3f, 2.0 is 00 00 00 40."""
    entry = pack(np.array([1.0, 2.0], dtype=np.float32))
    data = zlib.decompress(base64.b64decode(entry["data"]), -15)
    assert (entry["$array"], entry["shape"], data.hex(" ")) == ("f4", [2], "00 00 00 00 80 00 3f 40")


def test_rough_values_are_exact_while_all_is_small() -> None:
    values = RANDOM.standard_normal((3, 4)).astype(np.float32)
    entry = packed({"inner": [Rough(values)]})["inner"][0]
    assert entry["$array"] == "f4"
    assert (unpack(entry) == values).all()


def test_rough_values_are_halved_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "HALF_FROM", 100)
    values = RANDOM.standard_normal((30, 40)).astype(np.float32)
    found = packed({"h": values, "z": Rough(values), "large": Rough(1e6 * values)})
    assert [found[name]["$array"] for name in ("h", "z", "large")] == ["f4", "f2", "f4"]
    assert (unpack(found["h"]) == values).all()
    np.testing.assert_allclose(unpack(found["z"]), values, rtol=1e-3, atol=1e-4)


def test_too_much_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MOST", 1000)
    with pytest.raises(DataError, match=r"too much to look at.*shorter piece.*json"):
        packed([np.zeros((20, 20), dtype=np.float32)])


def test_plain_trees_have_lists_and_no_nan() -> None:
    tree = plain({"a": np.array([1.0, np.nan]), "b": Rough(np.zeros((1, 2))), "c": ["text", 3, None]})
    assert tree == {"a": [1.0, None], "b": [[0.0, 0.0]], "c": ["text", 3, None]}
    assert json.loads(json.dumps(tree, allow_nan=False)) == tree
