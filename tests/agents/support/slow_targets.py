"""Advantages, returns and V-trace as the papers' sums, written out as loops."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Steps = dict[str, NDArray[Any]]
"""``rewards``, ``values``, ``next_values``, ``terminated`` and ``done`` of steps, ``[T, N]`` each."""


def slow_gae(x: Steps, gamma: float, lam: float) -> NDArray[np.float64]:
    """A_t = sum over l of (gamma lambda)^l delta_{t+l}, up to the end of the episode or of the rollout."""
    num_steps, num_envs = x["rewards"].shape
    advantages = np.zeros((num_steps, num_envs))
    for n in range(num_envs):
        for t in range(num_steps):
            for k in range(t, num_steps):
                bootstrap = 0.0 if x["terminated"][k, n] else float(x["next_values"][k, n])
                delta = float(x["rewards"][k, n]) + gamma * bootstrap - float(x["values"][k, n])
                advantages[t, n] += (gamma * lam) ** (k - t) * delta
                if x["done"][k, n]:
                    break
    return advantages


def slow_return(x: Steps, gamma: float) -> NDArray[np.float64]:
    """Discounted rewards up to the end of the episode, plus the value of where it was cut unless it terminated."""
    num_steps, num_envs = x["rewards"].shape
    returns = np.zeros((num_steps, num_envs))
    for n in range(num_envs):
        for t in range(num_steps):
            last = next((k for k in range(t, num_steps) if x["done"][k, n]), num_steps - 1)
            returns[t, n] = sum(gamma ** (k - t) * float(x["rewards"][k, n]) for k in range(t, last + 1))
            if not x["terminated"][last, n]:
                returns[t, n] += gamma ** (last - t + 1) * float(x["next_values"][last, n])
    return returns


def slow_sums(rewards: NDArray[Any], done: NDArray[Any], carry: NDArray[Any], gamma: float) -> NDArray[np.float64]:
    """G_t = sum over k of gamma^(t - k) r_k since the episode began, with what came before the rollout."""
    num_steps, num_envs = rewards.shape
    sums = np.zeros((num_steps, num_envs))
    for n in range(num_envs):
        for t in range(num_steps):
            ends = np.flatnonzero(done[:t, n])
            first = 0 if not len(ends) else int(ends[-1]) + 1
            sums[t, n] = sum(gamma ** (t - k) * float(rewards[k, n]) for k in range(first, t + 1))
            if not len(ends):
                sums[t, n] += gamma ** (t + 1) * float(carry[n])
    return sums


def slow_vtrace(
    log_ratios: NDArray[Any], x: Steps, gamma: float, *, rho_bar: float = 1.0, c_bar: float = 1.0, lam: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the targets and advantages of Espeholt et al. 2018, eq. 1 and section 4.2.

    v_s = V(x_s) + sum over t of gamma^(t - s) (c_s .. c_{t-1}) rho_t (r_t + gamma V(x_{t+1}) - V(x_t)), up to the end
    of the episode or of the trajectory; the policy's gradient takes rho_s (r_s + gamma v_{s+1} - V(x_s)).
    """
    num_steps, num_envs = x["rewards"].shape
    targets, advantages = np.zeros((num_steps, num_envs)), np.zeros((num_steps, num_envs))
    for n in range(num_envs):
        ratios = [float(np.exp(np.float64(log_ratio))) for log_ratio in log_ratios[:, n]]
        rho = [min(rho_bar, ratio) for ratio in ratios]
        c = [lam * min(c_bar, ratio) for ratio in ratios]
        values = [float(value) for value in x["values"][:, n]]
        after = [
            0.0 if ended else float(value)
            for ended, value in zip(x["terminated"][:, n], x["next_values"][:, n], strict=True)
        ]
        rewards = [float(reward) for reward in x["rewards"][:, n]]
        lasts = [next((k for k in range(s, num_steps) if x["done"][k, n]), num_steps - 1) for s in range(num_steps)]
        for s, last in enumerate(lasts):
            terms = [
                gamma ** (t - s) * np.prod(c[s:t]) * rho[t] * (rewards[t] + gamma * after[t] - values[t])
                for t in range(s, last + 1)
            ]
            targets[s, n] = values[s] + sum(terms)
        for s, last in enumerate(lasts):
            following = after[s] if s == last else targets[s + 1, n]
            advantages[s, n] = rho[s] * (rewards[s] + gamma * following - values[s])
    return targets, advantages


def random_steps(seed: int, num_steps: int, num_envs: int, end_share: float = 0.3) -> Steps:
    """Return steps of which about ``end_share`` end an episode; values and next values have nothing in common."""
    rng = np.random.default_rng(seed)
    shape = (num_steps, num_envs)
    terminated, truncated = rng.random(shape) < end_share / 2, rng.random(shape) < end_share / 2
    return {
        "rewards": rng.normal(size=shape).astype(np.float32),
        "values": rng.normal(size=shape).astype(np.float32),
        "next_values": rng.normal(size=shape).astype(np.float32),
        "terminated": terminated,
        "done": terminated | truncated,
    }


def one_trajectory(x: Steps) -> Steps:
    """Return the steps with the values of one trajectory: within an episode a step leads to the next step's state."""
    next_values = x["next_values"].copy()
    next_values[:-1] = np.where(x["done"][:-1], next_values[:-1], x["values"][1:])
    return {**x, "next_values": next_values}
