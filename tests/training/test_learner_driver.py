"""Steps are handed on to however many environments there are now."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from paceline.training.learner_driver import share_out


@given(st.lists(st.integers(0, 10**12), max_size=9), st.integers(1, 9))
def test_shares_add_up_and_are_as_equal_as_they_can_be(before: list[int], num_envs: int) -> None:
    env_steps = np.array(before, np.int64)
    shares = share_out(env_steps, num_envs)
    assert shares.dtype == np.int64 and len(shares) == num_envs
    assert shares.sum() == env_steps.sum()
    if len(before) == num_envs:
        np.testing.assert_array_equal(shares, env_steps)  # the same environments go on counting
    else:
        assert shares.max() - shares.min() <= 1
