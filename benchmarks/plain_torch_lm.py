"""A character language model in plain torch, as one would write it without this project: the peer of `recurra fit`.

    python plain_torch_lm.py TRAIN VALID --cell gru --hidden 256 --layers 1 --minutes 1

Same model, batches, optimiser, schedule and number of validations as `recurra fit` is given. Prints one line of
JSON: characters trained on, seconds of training (validation included), and the validation loss.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EMBEDDING, ROWS, STEPS, DROPOUT, CLIP, RATE, VALIDATIONS = 128, 32, 128, 0.1, 1.0, 4e-3, 20


class CharacterModel(nn.Module):
    def __init__(self, vocabulary: int, cell: str, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, EMBEDDING)
        kind = {"gru": nn.GRU, "lstm": nn.LSTM}[cell]
        self.rnn = kind(EMBEDDING, hidden, layers, batch_first=True, dropout=DROPOUT if layers > 1 else 0.0)
        self.dropout = nn.Dropout(DROPOUT)
        self.head = nn.Linear(hidden, vocabulary)

    def forward(self, tokens: Tensor, state: object = None) -> tuple[Tensor, object]:
        outputs, state = self.rnn(self.embedding(tokens), state)
        return self.head(self.dropout(outputs)), state


def streams(ids: Tensor, rows: int, steps: int) -> list[tuple[Tensor, Tensor]]:
    """(inputs, targets) chunk by chunk, so that the state of one goes on into the next."""
    length = (len(ids) - 1) // rows
    inputs = ids[: rows * length].view(rows, length)
    targets = ids[1 : rows * length + 1].view(rows, length)
    return list(zip(inputs.split(steps, dim=1), targets.split(steps, dim=1), strict=True))


def detached(state: object) -> object:
    return tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()  # type: ignore[union-attr]


def evaluate(model: CharacterModel, chunks: list[tuple[Tensor, Tensor]]) -> float:
    model.eval()
    total, count, state = 0.0, 0, None
    with torch.no_grad():
        for inputs, targets in chunks:
            logits, state = model(inputs, state)
            total += F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
            count += targets.numel()
    model.train()
    return total / count


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("valid", type=Path)
    parser.add_argument("--cell", choices=["gru", "lstm"], default="gru")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    choices = parser.parse_args()
    torch.manual_seed(choices.seed)

    text, held = (path.read_text(encoding="utf-8") for path in (choices.train, choices.valid))
    alphabet = {character: place for place, character in enumerate(sorted(set(text)))}
    train = streams(torch.tensor([alphabet[character] for character in text]), ROWS, STEPS)
    ids = torch.tensor([alphabet[character] for character in held if character in alphabet])
    valid = streams(ids, max(1, min(32, (len(ids) - 1) // 2048)), 512)

    model = CharacterModel(len(alphabet), choices.cell, choices.hidden, choices.layers)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)
    characters, validations, loss_there, started = 0, 0, math.inf, time.perf_counter()
    done = 0.0
    while done < 1:
        state: object = None
        for inputs, targets in train:
            for group in optimiser.param_groups:
                group["lr"] = RATE * min(1.0, done / 0.03 + 0.01) * (0.5 + 0.5 * math.cos(math.pi * done))
            logits, state = model(inputs, state)
            state = detached(state)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimiser.step()
            characters += inputs.numel()
            done = min(1.0, (time.perf_counter() - started) / (60 * choices.minutes))
            if int(done * VALIDATIONS) > validations:
                validations = int(done * VALIDATIONS)
                loss_there = evaluate(model, valid)
            if done >= 1:
                break
    seconds = time.perf_counter() - started
    print(json.dumps({"characters": characters, "seconds": seconds, "loss": loss_there}))


if __name__ == "__main__":
    main()
