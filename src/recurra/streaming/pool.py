"""A pool: many sessions of one model that are read in step, a token into each at a time.

Their states are one batch, so that a step of all of them is one call. Rows never meet: each gives the bits of a session of
its own, and can leave as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.errors import DataError, UsageError
from recurra.models import Task
from recurra.state import check_like, leaves, map_state, merge, select
from recurra.streaming.graph import Standing, StepGraph, why_not
from recurra.streaming.session import Session, as_tokens, needs_the_whole
from recurra.streaming.stepper import keep


class Pool:
    """`rows` sequences of tokens read by `model` in step, from the beginning or from `state` on (a batch of as many rows).

    Raises `UsageError` for a model that needs the future, `StateError` for a foreign state.
    """

    def __init__(self, model: Task, rows: int, state: Any = None) -> None:
        if not model.causal:
            raise needs_the_whole()
        if type(rows) is not int or rows < 1:
            raise UsageError("'rows' is out of range", got=rows, expected="1 or more")
        template = model.initial_state(rows)
        if state is not None:
            check_like(state, template)
        self._model = model.eval()
        keep(model, thorough=True)
        self._standing = Standing(template if state is None else state)
        self.rows = rows

    @classmethod
    def of(cls, sessions: Sequence[Session]) -> Pool:
        """A pool that goes on where some sessions of one model stand; the sessions stay as they are."""
        if not sessions or any(one.model is not sessions[0].model for one in sessions):
            raise UsageError("A pool is made of sessions of one model", got=f"{len(sessions)} sessions")
        return cls(sessions[0].model, len(sessions), merge([one.state for one in sessions]))

    @property
    def state(self) -> Any:
        """The states of all rows as one batch: a value, never written again."""
        return self._standing.state()

    def explain(self) -> str:
        """How steps on a GPU run: as replays of a captured one, or as plain calls and why."""
        reason = why_not(self._model)
        return "as replays of one captured step" if reason is None else f"as calls of the model, because {reason}"

    def session(self, row: int) -> Session:
        """A session that goes on where a row stands."""
        if type(row) is not int or not 0 <= row < self.rows:
            raise UsageError("There is no such row", got=row, expected=f"0 to {self.rows - 1}")
        return Session(self._model, map_state(torch.clone, select(self.state, [row])))

    @torch.no_grad()
    def advance(self, tokens: Sequence[int] | Tensor) -> Tensor:
        """One token into each row: what the model gives after it, [rows, V]."""
        given = torch.tensor(as_tokens(self._model, tokens))
        if given.shape != (self.rows,):
            raise DataError("One token for each row", got=f"{len(given)} tokens", expected=f"{self.rows}")
        graph = StepGraph.of(self._model, self.rows)
        if graph is not None:
            return graph.step(self._standing, given)
        state, kept = self._standing.settle(), keep(self._model)
        if kept is not None:
            before = [leaf.contiguous() for leaf in leaves(state).values()]
            outputs, after = kept.run_tokens(given[None].contiguous(), before)
            found = iter(after)
            self._standing.value = map_state(lambda _: next(found), state)
            return outputs
        tokens = given[:, None].to(self._model.device)
        outputs, self._standing.value = self._model(tokens, state)
        return outputs[:, -1] if outputs.dim() == 3 else outputs

    def __len__(self) -> int:
        return self.rows
