"""What to try next: optuna, asked with the trials so far. It is the one file that knows optuna, and imports it when asked.

What is asked depends on the seed and the trials alone, so a search that was stopped asks what it would have asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recurra.errors import EnvironmentFailure
from recurra.fitting.kinds.space import OneOf, Span
from recurra.fitting.trials import Trial

RANDOM = 5
"""Trials that are drawn at random before anything is concluded from them."""
JUDGED, YOUNG = 2, 4
"""How many trials must have come as far before one is stopped for being behind, and the validation before which none is."""


class Asker:
    """Asks for the next trial and tells when it is no use to train it on. Raises `EnvironmentFailure` without optuna."""

    def __init__(self, space: Sequence[Span], seed: int, more_is_better: bool) -> None:
        try:
            import optuna
        except ImportError as error:
            raise EnvironmentFailure(
                "optuna is not installed, and `recurra tune` searches with it",
                fix="Install it with: pip install 'recurra[tune]'",
            ) from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna, self._space, self._seed = optuna, space, seed
        self._direction = "maximize" if more_is_better else "minimize"

    def ask(self, trials: Sequence[Trial]) -> Asked:
        """The next trial after these."""
        optuna = self._optuna
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=RANDOM, seed=(self._seed * 100_003 + len(trials)) % (1 << 32)
        )
        pruner = optuna.pruners.MedianPruner(n_startup_trials=JUDGED, n_warmup_steps=YOUNG, n_min_trials=JUDGED)
        study = optuna.create_study(direction=self._direction, sampler=sampler, pruner=pruner)
        distributions = {span.name: self._distribution(span) for span in self._space}
        states = optuna.trial.TrialState
        for trial in trials:
            state = {"complete": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[trial.state]
            study.add_trial(
                optuna.create_trial(
                    state=state,
                    value=trial.value if trial.state != "failed" else None,
                    params=trial.chosen,
                    distributions={name: distributions[name] for name in trial.chosen},
                    intermediate_values=dict(enumerate(trial.history, 1)),
                )
            )
        return Asked(study.ask(distributions))

    def _distribution(self, span: Span) -> Any:
        distributions = self._optuna.distributions
        if isinstance(span, OneOf):
            return distributions.CategoricalDistribution(span.values)
        return distributions.FloatDistribution(span.low, span.high, log=span.log)


class Asked:
    """What to try: `chosen`. `is_behind` is told each validation, and says whether others were better at that point."""

    def __init__(self, trial: Any) -> None:
        self._trial = trial
        self.chosen: dict[str, Any] = dict(trial.params)

    def is_behind(self, value: float, validation: int) -> bool:
        self._trial.report(value, validation)
        return self._trial.should_prune()
