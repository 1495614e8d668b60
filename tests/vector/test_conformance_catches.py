"""The conformance suite finds faults: each of these backends has one, and a check names the rule that it breaks."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from paceline import make_vec
from paceline.errors import EnvRaisedError, RequestError
from paceline.vector import VecEnv
from paceline.vector.conformance import VecEnvConformance
from paceline.vector.spaces import map_tree

Spoil = Callable[[Any], None]
"""Takes a sound vector environment and gives it a fault."""

DATA = "test_data_are_those_of_plain_environments"
OVER = "test_an_episode_that_is_over_is_not_stepped"
FIRST_READY = "test_first_ready_trajectories_are_those_of_plain_environments"


def spoils_batches(change: Callable[[Any, Any], Any]) -> Spoil:
    """Make a fault of ``change``, which returns another batch and other indices from those of ``recv``."""

    def spoil(venv: Any) -> None:
        recv = venv.recv

        def spoilt_recv(env_ids: Any = None) -> Any:
            return change(*recv(env_ids))

        venv.recv = spoilt_recv

    return spoil


def turned(tree: Any) -> Any:
    return map_tree(lambda array: array[::-1], tree)


def repeats_the_infos_of_the_step_before(venv: Any) -> None:
    recv, last = venv.recv, [{}]

    def spoilt_recv(env_ids: Any = None) -> Any:
        batch, ids = recv(env_ids)
        last.append(batch.infos)
        return batch._replace(infos=last[-2]), ids

    venv.recv = spoilt_recv


def steps_one_environment_twice(venv: Any) -> None:
    recv = venv.recv

    def spoilt_recv(env_ids: Any = None) -> Any:
        batch, ids = recv(env_ids)
        if 1 in ids and not (batch.terminated | batch.truncated).any():
            batch = batch._replace(observations=map_tree(np.copy, batch.observations))
            venv._group.step([1])
        return batch, ids

    venv.recv = spoilt_recv


def reads_the_callers_actions_late(venv: Any) -> None:
    send, recv, held = venv.send, venv.recv, []

    def spoilt_send(actions: Any, env_ids: Any = None) -> None:
        send(actions, env_ids)
        held[:] = [actions, slice(None) if env_ids is None else env_ids]

    def copy_again(target: Any, actions: Any) -> None:
        if isinstance(target, np.ndarray):
            target[held[1]] = actions
        else:
            for key in target if isinstance(target, dict) else range(len(target)):
                copy_again(target[key], actions[key])

    def spoilt_recv(env_ids: Any = None) -> Any:
        copy_again(venv._arrays.actions, held[0])
        return recv(env_ids)

    venv.send, venv.recv = spoilt_send, spoilt_recv


def ignores_the_order_of_env_ids(venv: Any) -> None:
    send = venv.send
    venv.send = lambda actions, env_ids=None: send(actions, None if env_ids is None else np.sort(env_ids))


def prefers_low_indices(venv: Any) -> None:
    send, recv, out = venv.send, venv.recv, set()

    def spoilt_send(actions: Any, env_ids: Any = None) -> None:
        send(actions, env_ids)
        out.update(range(venv.num_envs) if env_ids is None else np.asarray(env_ids).tolist())

    def spoilt_recv(env_ids: Any = None) -> Any:
        batch, ids = recv(sorted(out)[: venv.batch_size] if env_ids is None and out else env_ids)
        out.difference_update(ids.tolist())
        return batch, ids

    venv.send, venv.recv = spoilt_send, spoilt_recv


def adds_the_index_to_the_seed(venv: Any) -> None:
    reset = venv.reset
    venv.reset = lambda seed=None, **rest: reset(
        seed=[seed + i for i in range(venv.num_envs)] if isinstance(seed, int | np.integer) and seed >= 0 else seed,
        **rest,
    )


def resets_all_whatever_the_mask(venv: Any) -> None:
    reset = venv.reset

    def spoilt_reset(mask: Any = None, **rest: Any) -> Any:
        return reset(mask=np.ones_like(mask) if venv._was_reset and isinstance(mask, np.ndarray) else mask, **rest)

    venv.reset = spoilt_reset


def empties_the_callers_options(venv: Any) -> None:
    reset = venv.reset

    def spoilt_reset(options: Any = None, **rest: Any) -> Any:
        result = reset(options=options, **rest)
        (options or {}).pop("reset_mask", None)
        return result

    venv.reset = spoilt_reset


def returns_views_for_copies(venv: Any) -> None:
    venv.copy = False


def returns_copies_for_views(batch: Any, ids: Any) -> Any:
    return batch._replace(observations=map_tree(np.copy, batch.observations)), ids


def accepts_an_index_twice(venv: Any) -> None:
    recv = venv.recv
    venv.recv = lambda env_ids=None: recv(None if env_ids is None else np.unique(env_ids))


def forgets_batches_in_its_statistics(venv: Any) -> None:
    venv._clock.received = lambda *_: None


def closes_only_by_name(venv: Any) -> None:
    venv.close = lambda **rest: None


def lets_errors_of_set_attr_through(venv: Any) -> None:
    set_attr = venv.set_attr

    def spoilt_set_attr(name: str, values: Any) -> None:
        try:
            set_attr(name, values)
        except EnvRaisedError as error:
            raise error.__cause__ or error from None

    venv.set_attr = spoilt_set_attr


def ends_with_a_step_too_many(venv: Any) -> None:
    send = venv._send

    def spoilt_send(actions: Any, chosen: Any) -> None:
        try:
            send(actions, chosen)
        except RequestError as error:
            if "after its episode ended" in str(error):
                venv._fail(error)
            raise

    venv._send = spoilt_send


def steps_some_before_it_refuses(venv: Any) -> None:
    refuse = venv._refuse_ended

    def spoilt_refuse(ends: Any, chosen: Any) -> None:
        going_on = np.flatnonzero(~ends.any(axis=0))
        if len(going_on) and len(chosen) == venv.num_envs:
            venv._group.step(going_on[:1].tolist())
        refuse(ends, chosen)

    venv._refuse_ended = spoilt_refuse


def raises_another_error(venv: Any) -> None:
    recv = venv.recv

    def spoilt_recv(env_ids: Any = None) -> Any:
        try:
            return recv(env_ids)
        except Exception as error:
            raise ValueError(str(error)) from None

    venv.recv = spoilt_recv


ROWS = spoils_batches
FAULTS: list[tuple[str, Spoil, str, str]] = [
    ("swaps rows", ROWS(lambda b, i: (b._replace(observations=turned(b.observations)), i)), DATA, "observation of env"),
    (
        "no final",
        ROWS(lambda b, i: (b._replace(final_observations=b.observations), i)),
        DATA,
        "final observation of env",
    ),
    (
        "joins the ends",
        ROWS(lambda b, i: (b._replace(truncated=b.truncated | b.terminated), i)),
        DATA,
        "truncated of env",
    ),
    (
        "hides resets",
        ROWS(lambda b, i: (b._replace(reset_rows=b.reset_rows & False), i)),
        FIRST_READY,
        "reset_row of env",
    ),
    ("rounds rewards", ROWS(lambda b, i: (b._replace(rewards=np.float32(b.rewards)), i)), DATA, "rewards are float64"),
    ("marks rows", ROWS(lambda b, i: (b._replace(restarted=~b.restarted), i)), DATA, "no row is marked restarted"),
    ("loses infos", ROWS(lambda b, i: (b._replace(infos={}), i)), DATA, "infos has the keys"),
    ("repeats infos", repeats_the_infos_of_the_step_before, DATA, "recv: infos"),
    ("turns env_ids", ROWS(lambda b, i: (b, i[::-1])), FIRST_READY, "ascending"),
    ("names others", ROWS(lambda b, i: (b, np.sort((i + 1) % 5))), FIRST_READY, "of env"),
    ("steps one twice", steps_one_environment_twice, FIRST_READY, "observation of env 1"),
    ("reads actions late", reads_the_callers_actions_late, DATA, "of env"),
    ("sorts env_ids but not actions", ignores_the_order_of_env_ids, FIRST_READY, "of env"),
    ("starves the last", prefers_low_indices, FIRST_READY, "no environment starves"),
    ("adds to the seed", adds_the_index_to_the_seed, "test_seeds_are_derived_drawn_and_recorded", "by SeedSequence"),
    ("ignores the mask", resets_all_whatever_the_mask, "test_a_mask_chooses_who_is_reset", "observation of env"),
    ("empties options", empties_the_callers_options, "test_a_mask_chooses_who_is_reset", "the caller's options"),
    ("a step too many ends it", ends_with_a_step_too_many, OVER, "a reset mends it"),
    ("refuses halfway", steps_some_before_it_refuses, OVER, "others go on"),
    ("no copies", returns_views_for_copies, "test_copies_are_the_callers", "copy=True"),
    ("no views", ROWS(returns_copies_for_views), "test_views_live_until_the_next_call", "views of one place"),
    ("an index twice", accepts_an_index_twice, "test_indices_that_do_not_fit_are_refused", "but it was accepted"),
    ("another error", raises_another_error, "test_calls_out_of_order_are_refused", "RequestError, not ValueError"),
    ("forgets batches", forgets_batches_in_its_statistics, "test_statistics_add_up", "batches: "),
    ("raw errors", lets_errors_of_set_attr_through, "test_environments_can_be_reached", "EnvRaisedError says"),
    ("does not close", closes_only_by_name, "test_close_can_come_at_any_time_and_twice", "after close"),
]


class Serial(VecEnvConformance):
    env = "synthetic:spaces?obs=box&action=tuple&episode_length=6&info=all"
    spoil: Spoil | None = None

    def make_vec(self, env: Any, num_envs: int, **options: Any) -> VecEnv:
        venv = make_vec(env, num_envs, backend="serial", **options)
        if self.spoil is not None:
            self.spoil(venv)
        return venv

    def run(self, check: str) -> None:
        """Run a check as pytest would, with every case or mode."""
        modes = [case.mode for case in self.cases[:3]]
        for argument in {DATA: self.cases, FIRST_READY: modes}.get(check, [()]):
            try:
                getattr(self, check)(*([argument] if argument else []))
            finally:
                self.teardown_class()


@pytest.mark.parametrize(
    ("spoil", "check", "rule"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS]
)
def test_a_fault_is_found(spoil: Spoil, check: str, rule: str) -> None:
    suite = Serial()
    suite.spoil = spoil
    with pytest.raises(AssertionError, match=re.escape(rule)):
        suite.run(check)


def test_the_suite_needs_nothing_that_only_tests_need() -> None:
    program = (
        "import sys, paceline.vector.conformance; print({'pytest', 'hypothesis', 'jax'} & set(sys.modules) or 'none')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "none"
