"""`Look`: one or two inputs of a model, every number behind its answers, as a value that can be asked, kept and drawn."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import asdict
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recurra.cells import CELLS
from recurra.errors import DataError, UsageError
from recurra.files import write_file
from recurra.look.corpus import Corpus, search
from recurra.look.drawing import png, svg
from recurra.look.flow import MOST, flow_of, saturation
from recurra.look.foretold import RULES
from recurra.look.kinds import Target, asker
from recurra.look.packing import Foretold, Rough, packed, plain
from recurra.look.page import render
from recurra.look.page.weights import embedded, unsupported
from recurra.look.parts import Part, parts_of
from recurra.look.scene import Direction, Scene, record
from recurra.look.units import Plane, order_of, plane_of
from recurra.look.why import APART, Why, explain, frozen
from recurra.look.words import Words, of_columns, of_flow, of_members, of_why
from recurra.models import Task, fingerprint
from recurra.state import state_bytes

SHORT = 32
"""Steps up to which every answer is explained; of a longer input the most telling ones are."""
SOME = 2
MOST_NUMBERS = 1 << 20
"""Units times steps of all layers up to which plain values have the terms of sums as well."""
LONGEST = 80
"""Characters of a title."""
WIDE = 4
"""A leaf of a state more than so many times as wide as its layer is a matrix: shown by its norm, and whole at both ends."""
SMALL = 3 << 19
"""Characters of a page up to which it has room for the terms of sums."""
FORMAT, VERSION = "recurra-look", 1
ENDINGS = (".html", ".svg", ".png", ".json")
"""Of files that a look is written to."""


class Look:
    """What `look` gives. `scenes` holds all numbers as arrays; `to_dict`, `save` and notebooks show them."""

    def __init__(self, task: Task, parts: list[Part], scenes: list[Scene]) -> None:
        self.task = task
        self.parts = parts
        self.scenes = scenes
        self.corpus: Corpus | None = None
        self._planes = [self._plane(place) for place in range(len(parts))]
        self._orders = [self._order(place) for place in range(len(parts))]
        # made once: the library orders what stands beside the tensors anew each time
        self._files = [self._file(scene) for scene in scenes]
        self._words = [
            [of_why(scene.asker, why, scene.texts, self._own(scene)) for why in scene.why] for scene in scenes
        ]

    def __repr__(self) -> str:
        steps = " and ".join(f"{scene.steps} steps" for scene in self.scenes)
        return f"Look({self.task.kind}, {steps}, {len(self.parts)} layers)"

    def shown(self, layer: int, step: int, *, scene: int = 0, direction: str = "ahead") -> dict[str, np.ndarray]:
        """Every number inside a cell at one step, by name as in its formula: terms, gates, the state before and after.

        Raises `UsageError` where there is no such layer, direction or step.
        """
        found = self._direction(layer, scene, direction)
        if not _within(step, found.outputs):
            raise UsageError("There is no such step", got=step, expected=f"0 to {len(found.outputs) - 1}")
        return found.shown(step)

    def last_state(self, scene: int = 0) -> np.ndarray | None:
        """What the units of the last layer came to in the end."""
        states = self._states(len(self.parts) - 1)[scene]
        return states[-1] if len(states) else None

    def final(self, scene: int = 0) -> dict[str, np.ndarray]:
        """The state after the last step, by leaf: "0.ahead.h"."""
        return {
            f"{part.name}.{direction}.{leaf}": value
            for part, layer in zip(self.parts, self.scenes[scene].layers, strict=True)
            for direction, one in layer.items()
            for leaf, value in one.final.items()
        }

    def _direction(self, layer: int, scene: int, direction: str) -> Direction:
        if not _within(scene, self.scenes) or not _within(layer, self.parts):
            raise UsageError(
                "There is no such layer", got=f"layer {layer} of scene {scene}",
                expected=f"0 to {len(self.parts) - 1}, and of scenes 0 to {len(self.scenes) - 1}",
            )  # fmt: skip
        found = self.scenes[scene].layers[layer]
        if direction not in found:
            raise UsageError("There is no such direction", got=repr(direction), expected=", ".join(found) or "none")
        return found[direction]

    # ---- side by side

    def _states(self, layer: int) -> list[np.ndarray]:
        """What a layer's units came to, of each scene [T, H]: of both directions side by side."""
        found = []
        for scene in self.scenes:
            each = [one.outputs for one in scene.layers[layer].values()]
            found.append(np.concatenate(each, axis=1) if each else np.zeros((0, 1), np.float32))
        return found

    def _plane(self, layer: int) -> Plane:
        return plane_of(np.concatenate(self._states(layer)))

    def _order(self, layer: int) -> dict[str, list[int]]:
        found = {}
        for direction in self.parts[layer].cells:
            states = [scene.layers[layer][direction].outputs for scene in self.scenes if scene.layers[layer]]
            found[direction] = order_of(np.concatenate(states)) if states else []
        return found

    # ---- as a tree

    def tree(self, *, terms: bool = True, outputs: bool = True) -> dict[str, Any]:
        """All of it as dictionaries, lists and arrays; by choice without the `terms` of sums, which are more than half of
        it, and without those `outputs` that stand among the states."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "model": self._model(),
            "weights": embedded(self.task),
            "unrun": unsupported(self.task),
            "scenes": [self._scene(scene, terms, outputs) for scene in self.scenes],
            "corpus": None if self.corpus is None else asdict(self.corpus),
        }

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, arrays as nested lists: what `save("x.json")` writes. Of very long inputs the terms
        of sums are left out; `shown` has them for any step."""
        numbers = sum(one.outputs.size for scene in self.scenes for layer in scene.layers for one in layer.values())
        return plain(self.tree(terms=numbers <= MOST_NUMBERS))

    def to_page(self) -> dict[str, Any]:
        """All of it as a page carries it, arrays packed; terms where all is small, so that a page stays light."""
        whole = packed(self.tree(terms=False, outputs=False))
        size = len(json.dumps(whole))
        if size > SMALL // 2:
            return whole
        terms = packed(
            [[_terms(one) for one in layer.values()] for scene in self.scenes for layer in scene.layers], size
        )
        if size + len(json.dumps(terms)) > SMALL:
            return whole
        lanes = [list(layer.values()) for scene in whole["scenes"] for layer in scene["layers"]]
        for layer, said in zip(lanes, terms, strict=True):
            for lane, each in zip(layer, said, strict=True):
                lane["terms"] = each
        return whole

    def save(self, path: str | Path) -> None:
        """Write a page (.html), a picture (.svg, .png) or numbers (.json). Raises `UsageError` for another ending."""
        path = Path(path)
        kind = path.suffix.lower()
        if kind == ".json":
            content = json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"
            # half a surrogate pair, which no file can hold, stands as its escape in JSON
            write_file(path, content.encode("utf-8", "backslashreplace"))
        elif kind == ".html":
            write_file(path, render(self).encode("utf-8"))
        elif kind == ".svg":
            write_file(path, svg(self).encode("utf-8"))
        elif kind == ".png":
            write_file(path, png(self))
        else:
            raise UsageError(
                "A look is written as a page, a picture or numbers", got=path.name, expected=", ".join(ENDINGS)
            )

    def _repr_html_(self) -> str:
        # a page of its own inside the notebook, which neither shares its styles nor its scripts
        return f'<iframe srcdoc="{html.escape(render(self))}" width="100%" height="900" style="border:0"></iframe>'

    def _model(self) -> dict[str, Any]:
        task = self.task
        labels = getattr(task, "labels", None) or getattr(getattr(task, "codecs", None), "tags", None)
        return {
            "kind": task.kind,
            "cell": task.summary().get("cell"),
            "hash": fingerprint(task),
            "parameters": task.parameter_count,
            "summary": task.summary(),
            "layers": [self._layer(place) for place in range(len(self.parts))],
            "labels": list(labels.labels) if labels is not None else None,
        }

    def _layer(self, place: int) -> dict[str, Any]:
        part = self.parts[place]
        cell = part.any
        found = next((scene.layers[place] for scene in self.scenes if scene.layers[place]), {})
        first = next(iter(found.values()), None)
        return {
            "name": part.name,
            "cell": type(cell).__name__.lower(),
            "inputs": cell.inputs,
            "hidden": cell.hidden,
            "directions": list(part.cells),
            "parameters": sum(parameter.numel() for one in part.cells.values() for parameter in one.parameters()),
            "apart": 1 if first is None else first.apart,
            "leaves": [] if first is None else [name for name in first.state if not _is_matrix(first, name)],
            "matrices": [] if first is None else [name for name in first.state if _is_matrix(first, name)],
            "inner": [] if first is None else list(first.inner),
            "output": None if first is None else first.formula.output,
            "formula": [] if first is None else first.formula.described(),
        }

    def _scene(self, scene: Scene, terms: bool, outputs: bool) -> dict[str, Any]:
        place = self.scenes.index(scene)
        return {
            "title": scene.title,
            "inputs": {name: _exact(value) for name, value in scene.inputs.items()},
            "steps": scene.steps,
            "layers": [{name: _told(one, terms, outputs) for name, one in layer.items()} for layer in scene.layers],
            "outputs": scene.outputs,
            "answer": scene.answer,
            "final": self.final(place),
            "file": self._files[place],
            "attention": None if scene.attention is None else Rough(scene.attention),
            "remark": scene.remark,
            "why": [_why(why, said) for why, said in zip(scene.why, self._words[place], strict=True)],
            "flow": self._flow(scene),
            "trajectory": [
                plane.of(states[place])
                for plane, states in zip(self._planes, map(self._states, range(len(self.parts))), strict=True)
            ],
            "explained": [plane.explained for plane in self._planes],
            "units": {"order": self._orders},
        }

    def _own(self, scene: Scene) -> tuple[int, int] | None:
        """Of two texts the stretch of this one that is not in the other too; None where they differ altogether."""
        if len(self.scenes) < 2:
            return None
        here, there = scene.texts, self.scenes[1 - self.scenes.index(scene)].texts
        if here is None or there is None or here == there:
            return None
        start = next(
            (at for at, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), min(len(here), len(there))
        )
        backwards = zip(reversed(here[start:]), reversed(there[start:]), strict=False)
        same = next((at for at, (a, b) in enumerate(backwards) if a != b), min(len(here), len(there)) - start)
        return (start, len(here) - same) if start + same else None

    def _file(self, scene: Scene) -> str | None:
        """The whole state after the input as the file that a session goes on from, in base64; None for what streams not."""
        if not (self.task.causal and self.task.streams):
            return None
        with frozen(self.task), torch.no_grad():
            state = self.task(scene.asker.batch.inputs)[1]
        content = state_bytes(state, fingerprint(self.task), {"steps": str(scene.steps)})
        return base64.b64encode(content).decode("ascii")

    def _flow(self, scene: Scene) -> dict[str, Any] | None:
        flow = scene.flow
        found: dict[str, Any] = {
            "layers": None, "memory": None, "sentence": None,
            "saturation": [{name: saturation(one.inner) for name, one in layer.items()} for layer in scene.layers],
            "norm": [{name: np.linalg.norm(_state_of(one), axis=1) for name, one in layer.items()} for layer in scene.layers],
        }  # fmt: skip
        if flow is not None:
            found["layers"] = [
                {name: flow.norms[part.name, name] for name in part.cells if (part.name, name) in flow.norms}
                for part in self.parts
            ]
            found["memory"] = [{name: flow.memory.get((part.name, name)) for name in part.cells} for part in self.parts]
            found["sentence"] = of_flow(flow)
        else:
            found["missing"] = f"This model reads both ways: the signal is followed over at most {MOST} steps."
        return found


def _within(place: Any, some: Sized) -> bool:
    """Whether it is the place, a whole number, of one of these."""
    return isinstance(place, Integral) and 0 <= int(place) < len(some)


def _is_matrix(one: Direction, leaf: str) -> bool:
    return one.state[leaf].shape[-1] > WIDE * one.cell.hidden


def _state_of(one: Direction) -> np.ndarray:
    """The state of every step as one vector; the outputs of a cell that has none."""
    return np.concatenate(list(one.state.values()), axis=1) if one.state else one.outputs


def _exact(value: Any) -> Any:
    return value.astype(np.float32) if isinstance(value, np.ndarray) else value


def _told(one: Direction, terms: bool, outputs: bool) -> dict[str, Any]:
    inner: dict[str, np.ndarray | Rough] = {
        name: Rough(value) for name, value in one.inner.items() if outputs or name not in one.state
    }
    found: dict[str, Any] = {
        "initial": dict(one.initial),
        "state": {name: _leaf(one, name, inner) for name in one.state if not _is_matrix(one, name)},
        "inner": inner,
    }
    if outputs or one.formula.output not in one.formula.state.values():
        found["outputs"] = one.outputs
    if terms:
        found["terms"] = _terms(one)
    return found


def _terms(one: Direction) -> dict[str, Rough]:
    """What is added up in each sum; a bias, which is the same at every step, once."""
    return {name: Rough(value[0] if name.endswith(".b") else value) for name, value in one.terms.items() if len(value)}


def _leaf(one: Direction, name: str, inner: Mapping[str, np.ndarray | Rough]) -> np.ndarray | Foretold:
    """A leaf of the state, with what a page can guess it from where there is a rule for it."""
    values, cell = one.state[name], next((key for key, kind in CELLS.items() if type(one.cell) is kind), None)
    rule = f"{cell}.{name}"
    beside = {**inner, **{leaf: value for leaf, value in one.state.items() if leaf != name}}
    if rule not in RULES or one.apart != 1 or values.dtype != np.float32 or not set(RULES[rule].of) <= set(beside):
        return values
    return Foretold(values, rule, {each: beside[each] for each in RULES[rule].of}, one.initial[name], one.reverse)


def _why(why: Why, said: Words) -> dict[str, Any]:
    target = why.target
    return {
        "target": {
            "step": target.step,
            "text": target.text,
            "p": why.probability,
            "value": why.value,
            "unit": target.unit,
        },
        "methods": {"gradient_input": why.gradient, "integrated": why.integrated, "deletion": why.deletion},
        "disagree": why.disagree,
        "apart": APART,
        "integral": {"points": why.points, "error": why.error, "without": why.without},
        "stretch": why.stretch,
        "words": said,
        "columns": _columns(why),
        "members": _members(why),
    }


def _columns(why: Why) -> dict[str, Any] | None:
    found = why.columns
    if found is None:
        return None
    return {
        "names": found.names,
        "methods": {
            "gradient_input": Rough(found.gradient),
            "integrated": Rough(found.integrated),
            "deletion": Rough(found.deletion),
        },
        "whole": found.whole,
        "stretch": found.stretch,
        "words": of_columns(why),
    }


def _members(why: Why) -> dict[str, Any] | None:
    found = why.members
    if found is None:
        return None
    return {
        "integrated": Rough(found.integrated),
        "mean": found.mean,
        "spread": found.spread,
        "values": found.values,
        "without": found.withouts,
        "errors": found.errors,
        "agreement": found.agreement,
        "words": of_members(why),
    }


# a caller's inference mode would leave nothing to differentiate by
@torch.inference_mode(False)
def look(
    task: Task, *inputs: Any, titles: Sequence[str] | None = None, why: int | None = None,
    corpus: Iterable[tuple[str, Any]] | None = None,
) -> Look:  # fmt: skip
    """Look into a model while it reads one input, or two to compare.

    Arguments: inputs as `predict` reads them; titles of the scenes; why: how many answers are explained (None: of a short
    input all that there are, of a longer one the most telling; 0: none). Of two scenes each explains the other's answers
    too. corpus: (name, input) of others, in which is looked up where each unit is largest.

    Raises `UsageError` for no input or more than two, `DataError` for one that cannot be read or is empty, or at which the
    states are no finite numbers.
    """
    if not 1 <= len(inputs) <= 2:
        raise UsageError("A look is into one input, or two side by side", got=f"{len(inputs)} inputs")
    if why is not None and (type(why) is not int or why < 0):
        raise UsageError("'why' is out of range", got=why, expected="0 or more answers to explain")
    parts = parts_of(task)
    names = list(titles or [_title(raw, place) for place, raw in enumerate(inputs, 1)])
    if len(names) != len(inputs):
        raise UsageError("Each input has a title", got=f"{len(names)} titles", expected=len(inputs))
    scenes = [record(asker(task, raw), parts, name) for raw, name in zip(inputs, names, strict=True)]
    for scene in scenes:
        _finite(scene, parts)
    for scene, wanted in zip(scenes, _wanted(scenes, why), strict=True):
        scene.why = [explain(scene.asker, target) for target in wanted]
        scene.flow = flow_of(scene.asker, scene.targets[-1], parts)
    found = Look(task, parts, scenes)
    if corpus is not None:
        found.corpus = search(task, parts, corpus, found.last_state())
    return found


def _finite(scene: Scene, parts: list[Part]) -> None:
    """Raises `DataError` where a layer comes to what is no finite number: nothing could be drawn or explained."""
    for part, layer in zip(parts, scene.layers, strict=True):
        for one in layer.values():
            wrong = np.flatnonzero(~np.isfinite(one.outputs).all(axis=1))
            if len(wrong):
                raise DataError(
                    "The model does not come to finite numbers", got=f"NaN or infinity in layer {part.name}",
                    expected="finite states at every step", fix="See that its weights are finite, or give it a shorter input",
                )  # fmt: skip


def _title(raw: Any, place: int) -> str:
    """What an input is called: the beginning of a text, or its number."""
    if not isinstance(raw, str):
        return f"input {place}"
    return raw if len(raw) <= LONGEST else f"{raw[:LONGEST]}…"


def _wanted(scenes: Sequence[Scene], count: int | None) -> list[list[Target]]:
    found = []
    for scene in scenes:
        most = count if count is not None else len(scene.targets) if scene.steps <= SHORT else SOME
        chosen = scene.targets[-most:] if most else []
        found.append(chosen)
    if len(scenes) == 2 and all(found):
        # what the one answers in the end is asked of the other too, where it is the same question
        ends = [targets[-1] for targets in found]
        for place, other in enumerate(reversed(ends)):
            scene = scenes[place]
            known = {(target.step, target.index) for target in found[place]}
            if other.places == scenes[1 - place].steps and (ends[place].step, other.index) not in known:
                mine = Target(ends[place].step, other.index, other.text, ends[place].places, other.unit)
                found[place] = [mine, *found[place]]
    return found
