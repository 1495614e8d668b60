"""The sampling loop: the same experience in every autoreset mode, and time that adds up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from paceline import make_vec
from paceline.measure.ledger import ENV_STEP, INFERENCE, OTHER, RUNNER_WAIT, TRANSFER, UNATTRIBUTED, Ledger
from paceline.rollout.buffer import RolloutBuffer
from paceline.rollout.collector import Collector
from paceline.rollout.episodes import Episodes
from paceline.vector.base import StepBatch, VecEnv

MODES = [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED]
EVERY_MODE = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
T, N = 5, 3


class Clock:
    """Nanoseconds that pass only where a test says so."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def spend(self, ns: int) -> None:
        self.now_ns += ns


class OneEnv:
    """Observes (env, episode, step, sum of the actions of the episode); ends in turn by termination and truncation."""

    def __init__(self, index: int, lengths: list[int]) -> None:
        self.index, self.lengths, self.episode = index, lengths, -1

    def reset(self) -> list[float]:
        self.episode, self.step_number, self.total = self.episode + 1, 0, 0.0
        return self.observe()

    def observe(self) -> list[float]:
        return [self.index, self.episode, self.step_number, self.total]

    def step(self, action: float) -> tuple[list[float], float, bool, bool]:
        self.step_number += 1
        self.total += float(action)
        ended = self.step_number == self.lengths[self.episode % len(self.lengths)]
        truncates = (self.episode + self.index) % 2 == 0
        return self.observe(), self.total / 8 + self.step_number, ended and not truncates, ended and truncates


class FakeVecEnv(VecEnv):
    """The contract of ``VecEnv`` in a loop, with views that really are overwritten by the next call."""

    STEP_NS, RESET_NS, RUNNER_BUSY_NS = 1000, 300, 600

    def __init__(self, mode: AutoresetMode, lengths: list[list[int]], clock: Clock, num_env_runners: int = 0) -> None:
        self.num_envs = len(lengths)
        self.num_env_runners = num_env_runners
        self.autoreset_mode = mode
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (4,))
        self.single_action_space = spaces.Discrete(4)
        self._envs = [OneEnv(n, row) for n, row in enumerate(lengths)]
        self._clock = clock
        self._busy_ns = np.zeros(max(num_env_runners, 1), np.int64)
        self._observations = np.zeros((self.num_envs, 4))
        self._ended = np.zeros(self.num_envs, bool)
        self._batch: StepBatch | None = None

    def reset(self, *, seed: Any = None, options: Any = None, mask: Any = None) -> tuple[Any, dict[str, Any]]:
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        kept = self._observations.copy()
        self._spoil_views()
        self._observations[:] = kept  # rows that are not reset keep what they hold
        self._clock.spend(self.RESET_NS)
        for n in np.flatnonzero(mask):
            self._observations[n] = self._envs[n].reset()
        self._ended[mask] = False
        return self._observations, {}

    def send(self, actions: Any, env_ids: Any = None) -> None:
        self._spoil_views()
        self._actions = np.array(actions)

    def recv(self, env_ids: Any = None) -> tuple[StepBatch, NDArray[np.int64]]:
        self._clock.spend(self.STEP_NS)
        self._busy_ns += self.RUNNER_BUSY_NS
        rewards = np.zeros(self.num_envs)
        terminated, truncated, resets = (np.zeros(self.num_envs, bool) for _ in range(3))
        finals = np.full((self.num_envs, 4), -7.0)
        for n, env in enumerate(self._envs):
            if self._ended[n]:
                assert self.autoreset_mode is AutoresetMode.NEXT_STEP, "an episode that ended was stepped"
                resets[n], self._observations[n] = True, env.reset()
            else:
                self._observations[n], rewards[n], terminated[n], truncated[n] = env.step(self._actions[n])
            self._ended[n] = terminated[n] or truncated[n]
            if self._ended[n] and self.autoreset_mode is AutoresetMode.SAME_STEP:
                finals[n], self._observations[n], self._ended[n] = self._observations[n].copy(), env.reset(), False
        if self.autoreset_mode is not AutoresetMode.SAME_STEP:
            finals = self._observations
        self._batch = StepBatch(
            self._observations, rewards, terminated, truncated, resets, finals, {}, np.zeros_like(resets)
        )
        return self._batch, np.arange(self.num_envs)

    def busy_ns(self) -> NDArray[np.int64]:
        return self._busy_ns

    def runner_pids(self) -> tuple[int, ...]:
        return ()

    def _spoil_views(self) -> None:
        if self._batch is not None:
            self._batch.rewards[:] = np.nan
            self._batch.final_observations[:] = np.nan
            self._batch.terminated[:] = self._batch.truncated[:] = self._batch.reset_rows[:] = True
            self._observations[:] = np.nan


class Transition(NamedTuple):
    observation: tuple[float, ...]
    action: float
    reward: float
    terminated: bool
    truncated: bool
    next_observation: tuple[float, ...] | None  # None after termination: nobody may look at it


class Sampler:
    """A collector, and a policy that depends on what it sees and on (environment, step) alone, as an agent's does."""

    def __init__(
        self, venv: VecEnv, *, clock: Clock | None = None, rollout_length: int = T, act_ns: int = 0, to_env_ns: int = 0
    ) -> None:
        self.clock = clock or Clock()
        self.ledger = Ledger(self.clock)
        self.buffer = RolloutBuffer(venv.single_observation_space, (), np.int32, rollout_length, venv.num_envs)
        self.act_ns, self.to_env_ns = act_ns, to_env_ns
        self.noise = np.random.default_rng(0).integers(4, size=(1000, venv.num_envs))
        self.collector = Collector(venv, self.buffer, self._to_env, self.ledger)
        self.seen_steps: list[NDArray[np.int32]] = []

    def _to_env(self, actions: NDArray[Any]) -> NDArray[Any]:
        self.clock.spend(self.to_env_ns)
        return actions + 1

    def collect(self) -> Episodes:
        first_steps = self.collector.total_steps.copy()

        def act(steps: NDArray[np.int32], observations: Any) -> NDArray[Any]:
            self.clock.spend(self.act_ns)
            self.seen_steps.append(steps.copy())
            drawn = self.noise[first_steps + steps, np.arange(len(steps))]
            return (drawn + np.abs(np.asarray(observations, np.float64).sum(-1)).astype(np.int64)) % 4

        return self.collector.collect(act)

    def transitions(self) -> list[list[Transition]]:
        """Return the valid rows of the rollout in the buffer, per environment, as a learner would read them."""
        buffer = self.buffer
        finals, rows = buffer.finals()
        final_of = {int(row): finals[slot] for slot, row in enumerate(rows)}
        result: list[list[Transition]] = [[] for _ in range(buffer.num_envs)]
        for t, n in np.argwhere(buffer.valid):
            after = final_of.get(t * buffer.num_envs + n, buffer.observations[t + 1, n])
            terminated = bool(buffer.terminated[t, n])
            result[n].append(
                Transition(
                    tuple(buffer.observations[t, n].tolist()),
                    float(buffer.actions[t, n]),
                    float(buffer.rewards[t, n]),
                    terminated,
                    bool(buffer.truncated[t, n]),
                    None if terminated else tuple(after.tolist()),
                )
            )
        return result


def sample(sampler: Sampler, num_rollouts: int) -> tuple[list[list[Transition]], list[tuple[float, int]]]:
    """Return all transitions per environment, and all episodes, of a number of rollouts."""
    sampler.collector.reset(seed=3)
    trails: list[list[Transition]] = [[] for _ in range(sampler.buffer.num_envs)]
    finished: list[tuple[float, int]] = []
    for _ in range(num_rollouts):
        episodes = sampler.collect()
        finished += zip(episodes.returns.tolist(), episodes.lengths.tolist(), strict=True)
        for trail, more in zip(trails, sampler.transitions(), strict=True):
            trail += more
    return trails, finished


def oracle(lengths: list[list[int]], num_steps: int, noise: NDArray[Any]) -> list[list[Transition]]:
    """Return what every environment goes through on its own, without vectors, rollouts or autoreset."""
    trails = []
    for n, row in enumerate(lengths):
        env, trail = OneEnv(n, row), []
        observation = env.reset()
        for k in range(num_steps):
            action = (int(noise[k, n]) + int(abs(sum(observation)))) % 4
            after, reward, terminated, truncated = env.step(action + 1)
            trail.append(
                Transition(
                    tuple(observation), action, reward, terminated, truncated, None if terminated else tuple(after)
                )
            )
            observation = env.reset() if terminated or truncated else after
        trails.append(trail)
    return trails


LENGTHS = [[2, 5, 1], [3], [1, 4]]


@EVERY_MODE
def test_transitions_are_those_of_environments_on_their_own(mode: AutoresetMode) -> None:
    sampler = Sampler(FakeVecEnv(mode, LENGTHS, Clock()))
    trails, _ = sample(sampler, 12)
    expected = oracle(LENGTHS, 12 * T, sampler.noise)
    for n, (trail, truth) in enumerate(zip(trails, expected, strict=True)):
        resets = 0 if mode is not AutoresetMode.NEXT_STEP else 12 * T - len(trail)
        ended = sum(step.terminated or step.truncated for step in trail)
        assert len(trail) + resets == 12 * T
        assert resets in ((ended, ended - 1) if mode is AutoresetMode.NEXT_STEP else (0,))
        assert trail == truth[: len(trail)], f"env {n}"
        assert any(step.terminated for step in trail)
        assert any(step.truncated for step in trail)
    np.testing.assert_array_equal(sampler.collector.total_steps, [len(trail) for trail in trails])


@EVERY_MODE
def test_truncation_in_the_last_row_keeps_the_true_final_observation(mode: AutoresetMode) -> None:
    venv = FakeVecEnv(mode, [[T], [T]], Clock())  # env 0 is truncated in the last row, env 1 terminated
    sampler = Sampler(venv)
    sampler.collector.reset(seed=0)
    sampler.collect()
    first, second = sampler.transitions()
    assert first[-1].truncated
    assert first[-1].next_observation is not None
    assert first[-1].next_observation[:3] == (0, 0, T)
    assert second[-1].terminated
    sampler.collect()
    begins = [trail[0] for trail in sampler.transitions()]
    assert [step.observation for step in begins] == [(0, 1, 0, 0), (1, 1, 0, 0)]
    reset_rows_first = mode is AutoresetMode.NEXT_STEP
    np.testing.assert_array_equal(sampler.buffer.valid[0], [not reset_rows_first] * 2)


@EVERY_MODE
def test_reset_rows_are_not_valid_and_pay_nothing(mode: AutoresetMode) -> None:
    sampler = Sampler(FakeVecEnv(mode, [[1]], Clock()), rollout_length=4)
    sampler.collector.reset(seed=0)
    sampler.collect()
    expected = [True, False, True, False] if mode is AutoresetMode.NEXT_STEP else [True] * 4
    assert sampler.buffer.valid[:, 0].tolist() == expected
    assert not sampler.buffer.rewards[~sampler.buffer.valid].any()
    assert sampler.collector.total_steps.tolist() == [sum(expected)]
    assert sampler.buffer.num_env_steps() == sum(expected)


@EVERY_MODE
def test_the_policy_is_told_how_many_real_steps_each_environment_took(mode: AutoresetMode) -> None:
    sampler = Sampler(FakeVecEnv(mode, [[2], [100]], Clock()), rollout_length=6)
    sampler.collector.reset(seed=0)
    for _ in range(2):
        sampler.seen_steps.clear()
        sampler.collect()
        counted = np.array(sampler.seen_steps)
        assert counted.dtype == np.int32
        np.testing.assert_array_equal(counted[0], [0, 0])
        np.testing.assert_array_equal(np.diff(counted, axis=0), sampler.buffer.valid[:-1])


@EVERY_MODE
def test_episodes_are_those_of_the_transitions(mode: AutoresetMode) -> None:
    sampler = Sampler(FakeVecEnv(mode, LENGTHS, Clock()))
    trails, finished = sample(sampler, 10)
    expected = []
    for trail in trails:
        total, length = 0.0, 0
        for step in trail:
            total, length = total + step.reward, length + 1
            if step.terminated or step.truncated:
                expected.append((total, length))
                total, length = 0.0, 0
    assert sorted(finished) == sorted(expected)  # rewards are eighths: sums of them are exact
    assert len(finished) > 20


def test_a_reset_in_the_middle_begins_new_episodes() -> None:
    sampler = Sampler(FakeVecEnv(AutoresetMode.SAME_STEP, [[4]], Clock()), rollout_length=3)
    sampler.collector.reset(seed=0)
    assert len(sampler.collect().returns) == 0
    sampler.collector.reset(seed=0)
    assert len(sampler.collect().returns) == 0
    assert sampler.collect().lengths.tolist() == [4]


@EVERY_MODE
@pytest.mark.parametrize("runners", [0, 2])
def test_every_nanosecond_is_on_the_ledger(mode: AutoresetMode, runners: int) -> None:
    clock = Clock()
    venv = FakeVecEnv(mode, [[2], [2]], clock, num_env_runners=runners)
    sampler = Sampler(venv, clock=clock, rollout_length=6, act_ns=50, to_env_ns=7)
    sampler.collector.reset(seed=0)
    sampler.ledger.start()
    sampler.collect()
    sampler.collect()
    entry = sampler.ledger.snapshot()
    phases = {name: round(seconds * 1e9) for name, seconds in entry.phases.items()}
    resets = 6 if mode is AutoresetMode.DISABLED else 0  # both environments end every second step, together
    waited = 12 * venv.STEP_NS + resets * venv.RESET_NS
    busy = waited if runners == 0 else 12 * venv.RUNNER_BUSY_NS
    assert {name: ns for name, ns in phases.items() if ns} == {
        name: ns
        for name, ns in {
            ENV_STEP: busy,
            RUNNER_WAIT: waited - busy,
            INFERENCE: 12 * 50,
            TRANSFER: 12 * 7,
            OTHER: 0,
            UNATTRIBUTED: 0,
        }.items()
        if ns
    }
    assert sum(phases.values()) == clock.now_ns - venv.RESET_NS == round(entry.wall_s * 1e9)


def test_runners_cannot_be_busier_than_the_wait_for_them() -> None:
    clock = Clock()
    venv = FakeVecEnv(AutoresetMode.SAME_STEP, [[9]], clock, num_env_runners=1)
    venv.RUNNER_BUSY_NS = 5000  # they were stepping while the learner's process did other work
    sampler = Sampler(venv, clock=clock)
    sampler.collector.reset(seed=0)
    sampler.ledger.start()
    sampler.collect()
    phases = sampler.ledger.snapshot().phases
    assert phases[ENV_STEP] == pytest.approx(T * venv.STEP_NS * 1e-9)
    assert phases[RUNNER_WAIT] == 0


# Real vector environments.

SPACES_ENV = (
    "synthetic:spaces?obs=box&action=discrete&episode_length=6"  # actions 1..5; terminates and truncates in turn
)


def sample_real(mode: AutoresetMode, runners: int) -> tuple[list[list[Transition]], list[tuple[float, int]]]:
    make: Callable[..., VecEnv] = make_vec
    venv = make(SPACES_ENV, 4, num_env_runners=runners, autoreset_mode=mode, infos="none", copy=False)
    try:
        return sample(Sampler(venv, rollout_length=7), 8)
    finally:
        venv.close()


@pytest.fixture(scope="module")
def reference() -> tuple[list[list[Transition]], list[tuple[float, int]]]:
    return sample_real(AutoresetMode.SAME_STEP, 0)


@EVERY_MODE
@pytest.mark.parametrize("runners", [0, 2], ids=["serial", "shm"])
def test_real_backends_and_modes_give_the_same_learning_data(reference: Any, mode: AutoresetMode, runners: int) -> None:
    trails, finished = sample_real(mode, runners)
    for trail, truth in zip(trails, reference[0], strict=True):
        assert len(trail) >= 8 * 7 * 3 // 4
        assert trail == truth[: len(trail)]
        assert any(step.truncated for step in trail)
        assert any(step.terminated for step in trail)
    if mode is not AutoresetMode.NEXT_STEP:
        assert finished == reference[1]
    assert set(finished) <= set(reference[1])
