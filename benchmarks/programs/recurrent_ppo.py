"""RecurrentPPO of sb3-contrib on CartPole without velocities: converted, and with `resets` in place of its loop.

Of an episode that begins within a batch the policy goes through its LSTMs step by step (`_process_sequence`).
"""

# The program is installed by whoever wants to run this.
# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from sides import Clock, Outcome, need, show, weights_of
from torch import Tensor

import recurra.nn as ours

need("sb3_contrib", "sb3-contrib")

import gymnasium  # noqa: E402
import numpy as np  # noqa: E402
from sb3_contrib import RecurrentPPO  # noqa: E402
from stable_baselines3.common.env_util import make_vec_env  # noqa: E402

STEPS = 1024


class NoVelocities(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Only the places are seen, so that the policy has to remember."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.observation_space = gymnasium.spaces.Box(-5.0, 5.0, (2,), np.float32)

    def observation(self, observation: Any) -> Any:
        return observation[[0, 2]]


def with_resets(features: Tensor, states: Any, starts: Tensor, lstm: Any) -> tuple[Tensor, Any]:
    """`_process_sequence` of the policy in one call: an episode that begins is a reset."""
    rows = states[0].shape[1]
    by_step = features.reshape((rows, -1, lstm.input_size)).swapaxes(0, 1)
    resets = starts.reshape((rows, -1)).swapaxes(0, 1) != 0
    outputs, states = lstm(by_step, states, resets=resets)
    return torch.flatten(outputs.transpose(0, 1), start_dim=0, end_dim=1), states


def train(change: Callable[[Any], object]) -> Outcome:
    env = make_vec_env("CartPole-v1", 8, seed=0, wrapper_class=NoVelocities)
    model = RecurrentPPO("MlpLstmPolicy", env, seed=0, n_steps=128, batch_size=128, n_epochs=2)
    change(model.policy)
    clock, losses = Clock(), []

    def seen(original: Any = model.policy.evaluate_actions, *args: Any) -> Any:
        values, log_probabilities, entropy = original(*args)
        losses.append(float(values.detach().double().square().mean()))
        return values, log_probabilities, entropy

    model.policy.evaluate_actions = partial(seen, model.policy.evaluate_actions)  # type: ignore[method-assign]
    training = model.train

    def timed() -> None:
        with clock("of which training (with gradients)"):
            training()

    model.train = timed  # type: ignore[method-assign]
    with clock(f"learn, {STEPS} steps"):
        model.learn(STEPS)
    observations = torch.tensor(np.random.default_rng(1).normal(size=(32, 2)), dtype=torch.float32).numpy()
    state, start, values = None, np.ones(1, dtype=bool), []
    with clock("predict, 32 single steps"):
        for one in observations:
            _, state = model.predict(one[None], state=state, episode_start=start, deterministic=True)
            start[:] = False
            values.append(torch.tensor(state[0]).flatten())
    return Outcome(losses, torch.cat(values), weights_of(model.policy), clock.seconds)


def resets(policy: Any) -> None:
    ours.convert(policy)
    policy._process_sequence = with_resets


if __name__ == "__main__":
    show(
        "sb3-contrib RecurrentPPO, MlpLstmPolicy, LSTM 256",
        {
            "torch": partial(train, lambda policy: None),
            "converted": partial(train, ours.convert),
            "with resets": partial(train, resets),
        },
    )
