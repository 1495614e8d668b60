"""Seeds of N environments from one, the same whatever the backend and however they are divided among runners."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paceline.errors import RequestError


def derive_seeds(seed: int, num_envs: int) -> list[int]:
    """Return one seed per environment, each below 2^31.

    Environment i gets the first word of ``SeedSequence(seed, spawn_key=(i,))``, whatever N is. (With ``seed + i``, runs
    of seeds 0 and 1 would share N - 1 environments.)

    Args:
        seed: non-negative integer.
        num_envs: N.
    """
    return [int(np.random.SeedSequence(seed, spawn_key=(i,)).generate_state(1)[0]) >> 1 for i in range(num_envs)]


def resolve_seeds(seed: int | Sequence[int | None] | None, num_envs: int, *, first_reset: bool) -> list[int | None]:
    """Return the seed of each environment's reset; None leaves its generator as it is.

    A first reset without a seed draws one, so that every fault can be told together with the seed that leads to it.

    Raises:
        RequestError: a list of another length than N, or a negative seed.
    """
    if seed is None:
        if not first_reset:
            return [None] * num_envs
        entropy = np.random.SeedSequence().entropy
        return list(derive_seeds(int(entropy) if isinstance(entropy, int) else 0, num_envs))
    if isinstance(seed, int | np.integer):
        if seed < 0:
            raise RequestError(f"expected a seed of 0 or more, got {seed}; choose another, or leave it out")
        return list(derive_seeds(int(seed), num_envs))
    seeds = [None if item is None else int(item) for item in seed]
    if len(seeds) != num_envs:
        raise RequestError(
            f"expected one seed, or a list of {num_envs} (one per environment), got {len(seeds)}; give one of the two"
        )
    if any(item is not None and item < 0 for item in seeds):
        raise RequestError(f"expected seeds of 0 or more, got {seeds}; choose others")
    return seeds
