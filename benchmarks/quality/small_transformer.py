"""A small character transformer in plain torch: what another kind of network makes of the same text in the same minutes.

    python small_transformer.py TRAIN VALID TEST --minutes 30

Pre-norm blocks with causal attention, GELU, learnt positions and a tied head, as in GPT-2 and its small descendants, at a
size and with a recipe usual for some million characters. The vocabulary is the one that `recurra fit` takes: in an alphabet
of more than a thousand, characters seen once in training are one unknown symbol; newlines count. Prints one line of JSON.

Each character is predicted from the `CONTEXT / 2` before it at least, where there are so many: the windows of the evaluation
overlap by a half, which is kinder to it than windows that begin anew.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONTEXT, WIDTH, LAYERS, HEADS, ROWS = 256, 256, 4, 4, 16
RATE, WARMUP, DECAY, DROPOUT, CLIP, VALIDATIONS = 1e-3, 0.03, 0.1, 0.1, 1.0, 10
MANY_SYMBOLS, PART = 1000, 20_000  # characters that a validation looks at


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.joint, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.wide = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, width = x.shape
        parts = self.joint(self.first(x)).view(batch, steps, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        dropped = DROPOUT if self.training else 0.0
        mixed = F.scaled_dot_product_attention(*parts.unbind(0), dropout_p=dropped, is_causal=True)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, steps, width)))
        return x + self.dropout(self.wide(self.second(x)))


class Transformer(nn.Module):
    """Tokens[B, T], T at most `context` -> logits[B, T, V]."""

    def __init__(self, vocabulary: int, context: int = CONTEXT, width: int = WIDTH, layers: int = LAYERS) -> None:
        super().__init__()
        self.context = context
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(layers)))
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(DROPOUT)
        for table in (self.tokens, self.places):
            nn.init.normal_(table.weight, std=0.02)

    def hidden(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.norm(self.blocks(self.dropout(self.tokens(tokens) + self.places(places))))

    def head(self, hidden: Tensor) -> Tensor:
        return hidden @ self.tokens.weight.T

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.hidden(tokens))


def alphabet_of(text: str) -> dict[str, int]:
    """Character -> id; 0 is the unknown one."""
    counts = Counter(text)
    least = 2 if len(counts) > MANY_SYMBOLS else 1
    return {character: place for place, character in enumerate((c for c in sorted(counts) if counts[c] >= least), 1)}


@torch.no_grad()
def evaluate(model: Transformer, ids: Tensor) -> float:
    """Nats a character, of all but the first."""
    model.eval()
    half = model.context // 2
    total = _nats(model, ids[None, : half + 1], 0)
    windows = ids.unfold(0, 2 * half + 1, half) if len(ids) > 2 * half else ids[:0].view(0, 1)
    total += sum(_nats(model, some, half) for some in windows.split(8))
    if len(ids) - 1 > (len(windows) + 1) * half:
        total += _nats(model, ids[None, len(windows) * half :], half)
    model.train()
    return total / (len(ids) - 1)


def _nats(model: Transformer, windows: Tensor, skipped: int) -> float:
    """The loss of windows[B, T + 1] from step `skipped` on, in all."""
    logits = model.head(model.hidden(windows[:, :-1])[:, skipped:])
    return F.cross_entropy(logits.flatten(0, 1), windows[:, skipped + 1 :].flatten(), reduction="sum").item()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("train", "valid", "test"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    choices = parser.parse_args()
    torch.manual_seed(choices.seed)
    texts = {name: getattr(choices, name).read_text(encoding="utf-8") for name in ("train", "valid", "test")}
    alphabet = alphabet_of(texts["train"])
    ids = {name: torch.tensor([alphabet.get(c, 0) for c in text]) for name, text in texts.items()}

    model = Transformer(len(alphabet) + 1)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.99))
    best, loss_there, validations, steps, done = {}, math.inf, 0, 0, 0.0
    started = time.perf_counter()
    while done < 1:
        begins = torch.randint(len(ids["train"]) - CONTEXT, (ROWS,)).tolist()
        chunk = torch.stack([ids["train"][begin : begin + CONTEXT + 1] for begin in begins])
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, done / WARMUP + 0.01) * (0.5 + 0.5 * math.cos(math.pi * done))
        loss = F.cross_entropy(model(chunk[:, :-1]).flatten(0, 1), chunk[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        steps += 1
        done = min(1.0, (time.perf_counter() - started) / (60 * choices.minutes))
        if int(done * VALIDATIONS) > validations:
            validations = int(done * VALIDATIONS)
            now = evaluate(model, ids["valid"][:PART])
            if now < loss_there:
                loss_there, best = now, {name: value.clone() for name, value in model.state_dict().items()}
    seconds = time.perf_counter() - started
    model.load_state_dict(best)
    nats = {name: evaluate(model, ids[name]) for name in ("valid", "test")}
    told = {
        "name": f"a transformer of {LAYERS} blocks, {WIDTH} wide, {CONTEXT} characters of context",
        "metrics": {name: {"loss": value, "perplexity": math.exp(value)} for name, value in nats.items()},
        "parameters": sum(p.numel() for p in model.parameters()),
        "vocabulary": len(alphabet) + 1,
        "steps": steps,
        "seconds": round(seconds, 1),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
