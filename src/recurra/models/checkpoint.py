"""A model on disk: a folder of readable JSON and safetensors. No pickle, and loading runs no code from the file.

`config.json` (kind, format, config) · `weights.safetensors` · `tokenizer.json` and/or `codec.json`. The weights carry the
model's content hash, so that a folder whose parts do not belong together, or were altered, is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recurra.errors import ModelError, UsageError
from recurra.files import new_folder, open_for_reading, write_file
from recurra.models.classifier import Classifier
from recurra.models.language import LanguageModel
from recurra.models.task import Task

FORMAT = 1
CONFIG, WEIGHTS = "config.json", "weights.safetensors"
MODELS: dict[str, type[Task]] = {model.kind: model for model in (LanguageModel, Classifier)}


def fingerprint(model: Task) -> str:
    """The content hash of a model: its kind, config, codecs and weights. States are bound to it."""
    return _fingerprint(_config_text(model), model.codec_texts(), _tensors(model))


def save_model(model: Task, folder: str | Path, extra: Mapping[str, str] | None = None) -> None:
    """Write the whole folder, in one rename; `extra` are further files by name. What stood there is replaced."""
    with new_folder(Path(folder)) as temporary:
        write_file(temporary / CONFIG, _config_text(model))
        for name, text in {**model.codec_texts(), **(extra or {})}.items():
            write_file(temporary / name, text)
        save_weights(model, temporary)


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
    if not folder.exists():
        raise ModelError(f"No such model folder: {folder}", fix="See that the path is right; `recurra fit` makes one")
    if not folder.is_dir() or not (folder / CONFIG).is_file():
        raise ModelError(
            f"{folder} is no model", expected=f"a folder with {CONFIG} and {WEIGHTS}", fix="`recurra fit` makes one"
        )
    about, text = _read_config(folder / CONFIG)
    try:
        model = MODELS[about["kind"]].from_folder(about["config"], folder)
    except UsageError as error:
        raise ModelError(f"The parts of {folder} do not belong together", got=str(error)) from error
    path = folder / WEIGHTS
    with open_for_reading(path, "model"):
        pass
    try:
        with safe_open(path, framework="pt") as file:
            recorded = (file.metadata() or {}).get("recurra")
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged", got=str(error), fix="It was cut or altered; use another copy") from error
    _check_tensors(path, tensors, _tensors(model))
    if recorded != _fingerprint(text, model.codec_texts(), tensors):
        raise ModelError(
            f"The parts of {folder} do not belong together",
            got="another content hash than the one recorded with the weights",
            fix="A file was altered or comes from another model; use another copy, or fit again",
        )
    model.load_state_dict(tensors)
    return model.eval()


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
    except json.JSONDecodeError as error:
        raise ModelError(f"{path} is damaged", got=str(error), fix="Use another copy") from error
    if not isinstance(about, dict) or not {"kind", "format", "config"} <= set(about):
        raise ModelError(f"{path} is no configuration of a model", expected="kind, format and config")
    if not isinstance(about["format"], int) or about["format"] > FORMAT:
        raise ModelError(
            f"{path} was written by a newer Recurra",
            got=f"format {about['format']}",
            expected=f"format {FORMAT} or older",
            fix="Upgrade with: pip install --upgrade recurra",
        )
    if about["kind"] not in MODELS:
        raise ModelError(f"{path}: unknown kind of model", got=about["kind"], expected=", ".join(MODELS))
    return about, text


def _check_tensors(path: Path, got: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    if set(got) != set(wanted):
        odd = sorted(set(got) ^ set(wanted))
        raise ModelError(f"{path} does not fit its config.json", got=f"different tensors: {', '.join(odd[:5])}")
    for name, tensor in got.items():
        if tensor.shape != wanted[name].shape or tensor.dtype != wanted[name].dtype:
            raise ModelError(
                f"{path}: '{name}' does not fit config.json",
                got=f"{tuple(tensor.shape)} {tensor.dtype}",
                expected=f"{tuple(wanted[name].shape)} {wanted[name].dtype}",
            )
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{path}: '{name}' holds NaN or infinity", fix="Use another copy, or fit again")
