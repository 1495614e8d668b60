"""Checks of resets: seeds, masks, options."""

from __future__ import annotations

from typing import Any

import numpy as np

from paceline.errors import RequestError
from paceline.vector.conformance.backend import DISABLED, SAME, BackendUnderTest
from paceline.vector.conformance.equality import copied, flattened, require, require_refused
from paceline.vector.seeding import derive_seeds


class ResetChecks(BackendUnderTest):
    """``reset(seed=, options=, mask=)`` and ``env_seeds``."""

    def test_seeds_are_derived_drawn_and_recorded(self) -> None:
        """Seed by a number, a list and not at all."""
        with self.opened(autoreset_mode=SAME) as venv:
            num_envs = venv.num_envs
            require(venv.env_seeds == (None,) * num_envs, "env_seeds are None before the first reset")
            drawn_rows = rows(venv.reset()[0])
            drawn = venv.env_seeds
            require(all(isinstance(seed, int) for seed in drawn), "a first reset without a seed draws seeds")
            require(len(set(drawn)) == num_envs, "drawn seeds differ from environment to environment")
            again = rows(venv.reset(seed=list(drawn))[0])
            require(again == drawn_rows, "recorded seeds, given as a list, lead to the same observations")

            derived = tuple(derive_seeds(9, num_envs))
            number: Any = np.int64(9)
            first = rows(venv.reset(seed=number)[0])
            require(venv.env_seeds == derived, f"one seed becomes {derived} by SeedSequence, not {venv.env_seeds}")
            require(rows(venv.reset(seed=9)[0]) == first, "the same seed leads to the same observations")
            require(rows(venv.reset(seed=10)[0]) != first, "another seed leads to other observations")
            venv.reset()
            require(venv.env_seeds == tuple(derive_seeds(10, num_envs)), "a reset without a seed keeps env_seeds")
            some: list[int | None] = [None, 77, *[None] * (num_envs - 2)]
            venv.reset(seed=some)
            require(venv.env_seeds[1] == 77, "a seed in a list is recorded")
            require(venv.env_seeds[0] == derived_seed(10, 0), "None in a list leaves that environment's seed as it is")
            for bad in ([1] * (num_envs - 1), -1, [-1] * num_envs):
                require_refused(f"reset: seed {bad}", venv.reset, seed=bad)
            require(rows(venv.reset(seed=9)[0]) == first, "a refused seed changes nothing")

    def test_an_environments_seed_does_not_depend_on_how_many_there_are(self) -> None:
        """Divide fewer environments among the runners: the first ones are the same."""
        with self.opened(num_envs=3, autoreset_mode=SAME) as few, self.shared_twin(autoreset_mode=SAME) as twin:
            more = twin.venv
            few_rows, more_rows = rows(few.reset(seed=5)[0]), rows(more.reset(seed=5)[0])
            require(more.env_seeds[:3] == few.env_seeds, "env i's seed depends on seed and i alone")
            require(more_rows[:3] == few_rows, "env i's first observation depends on its seed alone")

    def test_a_mask_chooses_who_is_reset(self) -> None:
        """Reset some environments in the middle of their episodes, by both names of the mask."""
        with self.twin(autoreset_mode=DISABLED) as twin:
            venv, num_envs = twin.venv, len(twin.all_ids)
            some = np.arange(num_envs) % 2 == 1
            require_refused("reset: a mask before all were reset", venv.reset, seed=1, mask=some)
            twin.reset(seed=1, mask=np.ones(num_envs, np.bool_))
            twin.step()
            seeds = venv.env_seeds
            twin.reset(mask=some)
            require(venv.env_seeds == seeds, "a masked reset without a seed keeps env_seeds")
            twin.reset(seed=list(range(40, 40 + num_envs)), mask=~some)
            expected = tuple(seeds[i] if some[i] else 40 + i for i in range(num_envs))
            require(venv.env_seeds == expected, f"only seeds of chosen environments change: {expected}")

            options: dict[str, Any] = {"reset_mask": some}
            before = rows(venv.reset(seed=2, mask=some)[0])
            after = rows(venv.reset(seed=2, options=options)[0])
            require(before == after, "options['reset_mask'] means the same as mask")
            require(options == {"reset_mask": some}, "the caller's options are left as they are")
            require_refused("reset: mask and reset_mask", venv.reset, mask=some, options=options)
            bad_masks = (some[:-1], some[None], some.astype(np.int64), some.tolist(), np.zeros(num_envs, np.bool_))
            for bad in bad_masks:
                require_refused(f"reset: mask {bad!r}", venv.reset, mask=bad)
                require_refused(f"reset: reset_mask {bad!r}", venv.reset, options={"reset_mask": bad})
            require(rows(venv.reset(seed=2, mask=some)[0]) == after, "a refused mask changes nothing")

    def test_an_episode_that_is_over_is_not_stepped(self) -> None:
        """Step past the end of an episode in ``DISABLED`` mode: nobody is stepped, and a reset mends it."""
        with self.twin(autoreset_mode=DISABLED, batch_size=2) as twin:
            twin.reset(seed=3)
            for _ in range(3 * self.num_steps):
                twin.step()
                if twin.over.any():
                    break
            require(twin.over.any(), "an episode ends, else nothing is shown; raise num_steps")
            actions = twin.actions.batch(twin.steps, twin.all_ids)
            over, going_on = twin.all_ids[twin.over], twin.all_ids[~twin.over]
            rule = "an episode is over (DISABLED mode)"
            require_refused(f"step: {rule}", twin.venv.step, actions)
            require_refused(f"send: {rule}", twin.venv.send, actions, twin.all_ids)
            last = twin.actions.batch(twin.steps[over[-1:]], over[-1:])
            require_refused(f"send: {rule}", twin.venv.send, last, over[-1:])
            try:
                if len(going_on):
                    twin.send(going_on)  # compared with environments that took no step too many
                    while len(twin.under_way):
                        twin.receive()
                for _ in range(self.num_steps):
                    twin.begin_anew()
                    twin.step()
            except RequestError as error:
                told = f"step: {rule}: refused; others go on, and a reset mends it; got {error}"
                raise AssertionError(told) from error


def derived_seed(seed: int, index: int) -> int:
    """Return the seed of one environment."""
    return derive_seeds(seed, index + 1)[index]


def rows(observations: Any) -> list[tuple[bytes, ...]]:
    """Return the bits of each environment's observation."""
    leaves = flattened(copied(observations))
    return [tuple(leaf[k].tobytes() for leaf in leaves) for k in range(len(leaves[0]))]
