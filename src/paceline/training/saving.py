"""When a training run saves a checkpoint, and how a run that was stopped can go on bit for bit.

A checkpoint is due by time, by environment steps or by iterations, whichever is asked for and comes first.

**Exact resumption** (``exact_resume``). Everything that an update changes is in a checkpoint; environments are not:
what they are made of cannot be written to a file in general, and executing all actions since their last reset again has
no bound. So the state that cannot be saved is done away with, at moments that depend on nothing but counting: after
every ``checkpoint_every_iterations`` iterations a checkpoint is saved, and then all environments are reset with seeds
that follow from the run's seed and the number of updates, in a run that goes on as in one that is resumed. From such a
boundary on, both do the same arithmetic on the same numbers: parameters, moments, statistics and the learning rate's
place on its line come from the checkpoint; action noise is a function of environment and step count, minibatches of the
number of updates; discounted reward sums are zero, as they are wherever an episode begins.

What it costs: an episode that a boundary cuts is not told, and ends for the learner as the last row of any rollout
does, with the value of the state that it reached. Where an interval is shorter than an episode, no environment ever
comes to the later part of one, which changes what is learned; the run says so. So the option is off unless asked for,
and an interval should hold several episodes of each environment. A run that is stopped between two boundaries repeats
the iterations since the last one. It needs environments that ``reset(seed=..)`` restores entirely, a budget in steps or
iterations (annealing by the clock cannot be repeated) and a synchronous schedule with the policy in the learner.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from paceline._version import __version__
from paceline.errors import PlanError
from paceline.spec import RunSpec
from paceline.training.checkpoint import CheckpointStore
from paceline.training.driver import Driver


class Saver:
    """Saves the checkpoints of one run.

    Args:
        spec: the run, filled in.
        driver: what is saved.
        store: where.
        clock_s: a monotonic clock.

    Raises:
        PlanError: the plan cannot be resumed exactly, and the run asks for it.
    """

    def __init__(
        self, spec: RunSpec, driver: Driver, store: CheckpointStore, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        plan = spec.plan
        if spec.exact_resume and (plan.schedule, plan.inference) != ("sync", "learner"):
            raise PlanError(
                f"expected schedule sync and inference learner with exact_resume, got {plan.schedule} and "
                f"{plan.inference}; use them, or leave out exact_resume"
            )
        self._spec = spec
        self._driver = driver
        self._store = store
        self._clock_s = clock_s
        self._saved_updates = driver.num_updates
        self._note_attempt()

    @property
    def is_at_boundary(self) -> bool:
        """Whether as many iterations are done as lie between checkpoints that are due by iterations."""
        every = self._spec.checkpoint_every_iterations
        return every is not None and self._driver.num_iterations % every == 0

    @property
    def is_due(self) -> bool:
        """Whether a checkpoint should be saved after the iteration that has just ended."""
        if self.is_at_boundary or self._spec.exact_resume:
            return self.is_at_boundary
        steps = self._spec.checkpoint_every_steps
        if steps is not None and self._driver.total_env_steps - self._tried_steps >= steps:
            return True
        return self._clock_s() - self._tried_s >= self._spec.checkpoint_every_s

    @property
    def is_saved(self) -> bool:
        """Whether the newest parameters are on disk (or there are none but the first)."""
        return self._driver.num_updates == self._saved_updates

    def save(self, score: float | None, wall_s: float) -> None:
        """Save a checkpoint, unless there was no update since the last one.

        Args:
            score: mean return of the last episodes, if there were any.
            wall_s: seconds that the run has trained, compilation aside, before it was resumed included.

        Raises:
            OutputError: it could not be written; earlier ones are untouched.
        """
        self._note_attempt()
        if self.is_saved:
            return
        self._store.save(
            self._driver.checkpoint_state(),
            {
                "total_env_steps": self._driver.total_env_steps,
                "num_updates": self._driver.num_updates,
                "num_iterations": self._driver.num_iterations,
                "wall_s": wall_s,
                "score": score,
                "is_boundary": self._spec.exact_resume and self.is_at_boundary,
                "spec": self._spec.model_dump(mode="json"),
                "paceline_version": __version__,
            },
        )
        self._saved_updates = self._driver.num_updates

    def _note_attempt(self) -> None:
        """Put off the next checkpoint; one that fails is put off, too, and yet not taken for saved."""
        self._tried_s = self._clock_s()
        self._tried_steps = self._driver.total_env_steps


def caution_about_interval(spec: RunSpec, max_episode_steps: int | None) -> str:
    """Return a sentence if the boundaries of an exactly resumable run cut every episode; else an empty string.

    Args:
        spec: the run, filled in.
        max_episode_steps: the longest episode of its environment, if that is known.
    """
    every = spec.checkpoint_every_iterations
    if not spec.exact_resume or every is None or max_episode_steps is None:
        return ""
    steps = every * spec.algo.steps_per_iteration // spec.plan.num_envs
    if steps >= max_episode_steps:
        return ""
    return (
        f"exact_resume cuts episodes of up to {max_episode_steps} steps after {steps}: later parts of an episode may "
        f"never be seen; use checkpoint_every_iterations {-(-max_episode_steps * every // steps)} or more"
    )
