"""A model on disk: a folder of readable JSON and safetensors. No pickle, and loading runs no code from the file.

`config.json` (kind, format, config) · `weights.safetensors` · `tokenizer.json` and/or `codec.json`. The weights carry the
model's content hash, so that a folder whose parts do not belong together, or were altered, is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from recurra.data.codecs import CODEC_FILE
from recurra.data.series_codec import SERIES_FILE
from recurra.data.text_codec import TOKENIZER_FILE
from recurra.errors import ModelError, UsageError
from recurra.files import disk_errors, new_folder, open_for_reading, write_file
from recurra.models.classifier import Classifier
from recurra.models.ensemble import ClassifierEnsemble, RegressorEnsemble
from recurra.models.forecaster import Forecaster
from recurra.models.language import LanguageModel
from recurra.models.regressor import Regressor
from recurra.models.tagger import Tagger
from recurra.models.task import Task
from recurra.models.translation import TARGET_FILE
from recurra.models.translator import Translator
from recurra.models.word_by_word import WordByWord

FORMAT = 1
CONFIG, WEIGHTS = "config.json", "weights.safetensors"
# all that stands in a model folder: what is more is a person's own
FILES = (
    CONFIG, WEIGHTS, TOKENIZER_FILE, TARGET_FILE, CODEC_FILE, SERIES_FILE, "record.json", "metrics.jsonl", "report.html",
    "README.md", "training", "tensorboard",
)  # fmt: skip
MODELS: dict[str, type[Task]] = {
    model.kind: model for model in (LanguageModel, Classifier, Regressor, Tagger, Translator, Forecaster)
}
FORMS: dict[tuple[str, str], type[Task]] = {
    ("translate", "word-by-word"): WordByWord,
    ("classify", "ensemble"): ClassifierEnsemble,
    ("regress", "ensemble"): RegressorEnsemble,
}
"""Models of a kind that have a form of their own, which their configuration names."""


def fingerprint(model: Task) -> str:
    """The content hash of a model: its kind, config, codecs and weights. States are bound to it."""
    return _fingerprint(_config_text(model), model.codec_texts(), _tensors(model))


def save_model(model: Task, folder: str | Path, extra: Mapping[str, str] | None = None) -> None:
    """Write the whole folder, in one rename; `extra` are further files by name. A model that stood there is replaced.

    Raises `UsageError` where something else stands there.
    """
    check_replaceable(Path(folder))
    with new_folder(Path(folder)) as temporary:
        write_file(temporary / CONFIG, _config_text(model))
        for name, text in {**model.codec_texts(), **(extra or {})}.items():
            write_file(temporary / name, text)
        save_weights(model, temporary)


def fill_folder(model: Task, folder: str | Path) -> None:
    """Write the model into a folder beside what is there. It is a model once `config.json`, the last, is written."""
    folder = Path(folder)
    for name, text in model.codec_texts().items():
        write_file(folder / name, text)
    save_weights(model, folder)
    write_file(folder / CONFIG, _config_text(model))


def check_replaceable(folder: Path) -> None:
    """Refuse to replace anything but a model: what a person keeps in a folder would be lost. Raises `UsageError`."""
    if not os.path.lexists(folder):
        return
    if not os.path.isdir(folder):
        raise UsageError(f"{folder} is a file", expected="a folder, or a name that is free", fix="Choose another name")
    real = os.path.realpath(folder)
    if os.path.commonpath([real, os.getcwd()]) == real:
        raise UsageError(f"{folder} is the folder you are in", expected="a folder of its own for the model")
    names = sorted(os.listdir(folder))
    # a write that was killed leaves .NAME.something
    foreign = [name for name in names if name not in FILES and not name.startswith(tuple(f".{own}." for own in FILES))]
    if names and not foreign and WEIGHTS not in names and "training" not in names:
        foreign = names
    if foreign:
        raise UsageError(
            f"{folder} is not empty, and what is there would be lost",
            got=", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else ""),
            expected="a model folder, an empty one, or a name that is free",
            fix="Choose another name, or move away what is there",
        )


def sweep(folder: Path) -> None:
    """Remove from a model folder what writes that were killed have left."""
    for entry in folder.iterdir():
        if entry.name.startswith(tuple(f".{own}." for own in FILES)):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def save_weights(model: Task, folder: str | Path) -> None:
    """Replace the weights of a folder made by `save_model` for the same model."""
    from safetensors.torch import save

    tensors = _tensors(model)
    metadata = {"format": "pt", "recurra": _fingerprint(_config_text(model), model.codec_texts(), tensors)}
    write_file(Path(folder) / WEIGHTS, save(tensors, metadata))


def load_model(folder: str | Path) -> Task:
    """Read a model folder; the model is in evaluation mode, on the CPU.

    Raises `ModelError` for a folder that is no model, damaged, altered, of a newer format or of an unknown kind.
    """
    from safetensors import SafetensorError, safe_open

    folder = Path(folder)
    if not os.path.exists(folder):
        raise ModelError(f"No such model folder: {folder}", fix="See that the path is right; `recurra fit` makes one")
    if not os.path.isfile(folder / CONFIG):
        raise ModelError(
            f"{folder} is no model", expected=f"a folder with {CONFIG} and {WEIGHTS}", fix="`recurra fit` makes one"
        )
    about, text = _read_config(folder / CONFIG)
    try:
        # on no memory at all: what config.json claims is believed only where the weights are there
        with torch.device("meta"), _Undrawn():
            model = _class_of(about).from_folder(about["config"], folder)
    except UsageError as error:
        raise ModelError(f"The parts of {folder} do not belong together", got=str(error).rstrip(".")) from error
    path = folder / WEIGHTS
    with open_for_reading(path, "model"):
        pass
    try:
        with disk_errors(path, "read"), safe_open(path, framework="pt") as file:
            recorded = (file.metadata() or {}).get("recurra")
            _check_shapes(path, {name: file.get_slice(name).get_shape() for name in file.keys()}, model)  # noqa: SIM118
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged", got=str(error), fix="It was cut or altered; use another copy") from error
    _check_values(path, tensors, model)
    if recorded != _fingerprint(text, model.codec_texts(), tensors):
        raise ModelError(
            f"The parts of {folder} do not belong together",
            got="another content hash than the one recorded with the weights",
            fix="A file was altered or comes from another model; use another copy, or fit again",
        )
    model.load_state_dict(tensors, assign=True)
    return model.eval()


class _Undrawn(TorchFunctionMode):
    """Draws no numbers for weights that have no memory: torch would load its compiler for that, which takes seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.normal_, nn.init.normal_):
            return args[0] if args else kwargs["tensor"]
        return (torch.empty if func is torch.randn else func)(*args, **(kwargs or {}))


def _class_of(about: dict[str, Any]) -> type[Task]:
    config = about["config"]
    form = str(config.get("form")) if isinstance(config, dict) else ""
    return FORMS.get((about["kind"], form), MODELS[about["kind"]])


def _config_text(model: Task) -> str:
    about = {"kind": model.kind, "format": FORMAT, "config": model.config.model_dump(mode="json")}
    return json.dumps(about, ensure_ascii=False, indent=1) + "\n"


def _tensors(model: Task) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def _fingerprint(config: str, codecs: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    digest.update(json.dumps(json.loads(config), sort_keys=True).encode())
    for name in sorted(codecs):
        digest.update(name.encode() + b"\0" + json.dumps(json.loads(codecs[name]), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def _read_text(path: Path) -> str:
    with open_for_reading(path, "model") as file:
        content = file.read()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} is damaged", got=f"bytes that are no UTF-8 at {error.start}") from error


def _read_config(path: Path) -> tuple[dict[str, Any], str]:
    text = _read_text(path)
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged", got=str(error), fix="Use another copy") from error
    if not isinstance(about, dict) or not {"kind", "format", "config"} <= set(about):
        raise ModelError(f"{path} is no configuration of a model", expected="kind, format and config")
    if type(about["format"]) is not int or about["format"] < 1:
        raise ModelError(f"{path} is damaged", got=f"format {str(about['format'])[:40]}", expected=f"format {FORMAT}")
    if about["format"] > FORMAT:
        raise ModelError(
            f"{path} was written by a newer Recurra",
            got=f"format {str(about['format'])[:40]}",
            expected=f"format {FORMAT}",
            fix="Upgrade with: pip install --upgrade recurra",
        )
    if about["kind"] not in list(MODELS):
        raise ModelError(f"{path}: unknown kind of model", got=repr(about["kind"])[:80], expected=", ".join(MODELS))
    return about, text


def _check_shapes(path: Path, got: Mapping[str, list[int]], model: Task) -> None:
    wanted = model.state_dict()
    if set(got) != set(wanted):
        odd = sorted(set(got) ^ set(wanted))
        raise ModelError(f"{path} does not fit its config.json", got=f"different tensors: {', '.join(odd[:5])}")
    for name, shape in got.items():
        if tuple(shape) != wanted[name].shape:
            expected = tuple(wanted[name].shape)
            raise ModelError(f"{path}: '{name}' does not fit config.json", got=tuple(shape), expected=expected)


def _check_values(path: Path, tensors: Mapping[str, Tensor], model: Task) -> None:
    wanted = model.state_dict()
    for name, tensor in tensors.items():
        if tensor.dtype != wanted[name].dtype:
            raise ModelError(f"{path}: '{name}' has the wrong type", got=tensor.dtype, expected=wanted[name].dtype)
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{path}: '{name}' holds NaN or infinity", fix="Use another copy, or fit again")
