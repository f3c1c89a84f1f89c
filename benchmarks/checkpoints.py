"""What a checkpoint costs: the time to write one, and its share of training when one is written every minute."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from machine import Others
from recurra.data.batches import StreamFeed
from recurra.data.text_codec import TextCodec
from recurra.layers import StackConfig
from recurra.models import LanguageModel, LanguageModelConfig
from recurra.training import Keeping, Position, Recipe, save_checkpoint

SYMBOLS = "".join(map(chr, range(33, 97)))
MODELS = {
    "GRU 1×512, characters": {"hidden": 512, "layers": 1, "embedding": 128},
    "GRU 3×1024, characters": {"hidden": 1024, "layers": 3, "embedding": 1024},
}
EVERY = 60.0


def build(hidden: int, layers: int, embedding: int) -> LanguageModel:
    codec = TextCodec.learn([SYMBOLS], "characters")
    stack = StackConfig(cell="gru", hidden=hidden, layers=layers, dropout=0.1)
    config = LanguageModelConfig(stack=stack, vocabulary=codec.size, embedding=embedding, dropout_outputs=0.1)
    return LanguageModel(config, codec)


def measure(model: LanguageModel, folder: Path, rounds: int) -> tuple[list[float], list[float], int]:
    """(seconds of each checkpoint, seconds of each step of training, bytes of a checkpoint)."""
    steps: list[float] = []
    kept: list[float] = []
    ids = torch.randint(0, model.codec.size, (32 * 128 * 4 * rounds,))
    feed, valid = StreamFeed(ids, 32, 128), StreamFeed(ids[:1000], 1, 64)

    def keep(position: Position) -> None:
        save_checkpoint(folder, position, {})

    def timed(call: Callable[[], None], seconds: list[float]) -> None:
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)

    # what the loop does to keep a position, copies included, is the gap between two steps less the step
    from recurra.training.loop import _Run

    run = _Run(model, feed, valid, Recipe(epochs=1, rows=32, steps=128), Position(), Keeping(keep, steps=1))
    for batch in list(feed.batches(0))[: rounds + 1]:
        timed(lambda batch=batch: (run._step(batch, lambda: False), None)[1], steps)
        timed(run._keep, kept)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return kept[1:], steps[1:], size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    others = Others()
    print("| model | parameters | MB | a checkpoint, s (least to most) | a step, s | share of training, every minute |")
    print("|---|---|---|---|---|---|")
    for name, sizes in MODELS.items():
        model = build(**sizes)
        with tempfile.TemporaryDirectory(dir=".") as folder:
            kept, steps, size = measure(model, Path(folder), chosen.rounds)
        one = statistics.median(kept)
        count = sum(value.numel() for value in model.parameters())
        print(
            f"| {name} | {count:,} | {size / 1e6:.0f} | {one:.3f} ({min(kept):.3f} to {max(kept):.3f}) "
            f"| {statistics.median(steps):.3f} | {one / (EVERY + one):.2%} |"
        )
    share = others.share()
    print(f"\n{chosen.threads} threads, {chosen.rounds} rounds, others took {share:.0%}" if share is not None else "")


if __name__ == "__main__":
    main()
