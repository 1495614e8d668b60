"""Checks of ``send`` and ``recv`` for some environments: whoever is ready first, whichever are asked for, in turns."""

from __future__ import annotations

import numpy as np
from gymnasium.vector import AutoresetMode

from paceline.vector.conformance.backend import DISABLED, NEXT, SAME, BackendUnderTest
from paceline.vector.conformance.equality import copied, require, require_refused, require_same

_MOST_BATCHES = 1_000  # a backend that has returned so many and one environment never lets it starve


class FirstReadyChecks(BackendUnderTest):
    """``batch_size < num_envs``."""

    def test_first_ready_trajectories_are_those_of_plain_environments(self, mode: AutoresetMode) -> None:
        """Send again whatever comes first until all have gone far; then drain."""
        batch_size = 2
        with self.shared_twin(autoreset_mode=mode, batch_size=batch_size) as twin:
            num_envs = len(twin.all_ids)
            require(twin.venv.batch_size == batch_size, "batch_size is as chosen")
            twin.reset(seed=8)
            twin.send()
            batches = 0
            while twin.steps.min() < self.num_steps:
                batches += 1
                require(batches < _MOST_BATCHES, f"no environment starves; steps so far: {twin.steps.tolist()}")
                ids = twin.receive()
                require(len(ids) == batch_size, f"recv: {batch_size} environments while more are under way")
                twin.begin_anew()
                twin.send(ids[::-1])
            drained = []
            while len(twin.under_way):
                expected = min(batch_size, len(twin.under_way))
                ids = twin.receive()
                require(len(ids) == expected, f"recv: all that are under way if they are fewer, {expected}")
                drained += ids.tolist()
            require(sorted(drained) == list(range(num_envs)), "draining returns each environment once")
            require_refused("recv: nothing is under way", twin.venv.recv)
            require(sum(twin.ends) > 0, "an episode ends, else nothing is shown; raise num_steps")
            twin.begin_anew()
            twin.step()  # and back to lockstep

    def test_each_environment_comes_once_before_any_comes_twice(self) -> None:
        """Receive in the order of readiness: nobody is passed over for good."""
        with self.shared_twin(autoreset_mode=SAME, batch_size=2) as twin:
            twin.reset(seed=8)
            for _ in range(3):
                twin.send()
                order: list[int] = []
                while len(twin.under_way):
                    order += twin.receive().tolist()
                require(sorted(order) == twin.all_ids.tolist(), f"recv: each environment once, not {order}")

    def test_named_environments_are_waited_for(self) -> None:
        """Name who is sent and who is received; the others stay under way, or at rest."""
        with self.shared_twin(autoreset_mode=NEXT, batch_size=2) as twin:
            venv, last = twin.venv, len(twin.all_ids) - 1
            twin.reset(seed=6)
            for _ in range(self.num_steps):
                twin.send([last, 0, 2])
                ids = twin.receive([2, last])
                require(ids.tolist() == [2, last], "recv(env_ids): these very environments, ascending")
                require_refused("recv: an idle environment", venv.recv, [2])
                require_refused("send: an environment under way", venv.send, twin.actions.batch(ids * 0, ids), [0, 2])
                twin.send([2])
                ids = twin.receive(twin.under_way)
                require(ids.tolist() == [0, 2], "recv(env_ids): more than batch_size, if asked for")
                twin.send()
                ids = twin.receive(twin.all_ids[::-1].tolist())
                require(ids.tolist() == twin.all_ids.tolist(), "recv(env_ids): all, ascending")

    def test_send_without_names_means_those_just_received(self) -> None:
        """Leave out ``env_ids``."""
        with self.shared_twin(autoreset_mode=SAME, batch_size=2) as twin:
            twin.reset(seed=6)
            twin.send()
            for _ in range(self.num_steps):
                ids = twin.receive()
                actions = twin.actions.batch(twin.steps[ids], ids)
                twin.venv.send(actions)
                twin.mark_sent(ids)
            while len(twin.under_way):
                twin.receive()

    def test_two_halves_take_turns(self) -> None:
        """Run the lines of the contract's text, with the default batch size."""
        with self.shared_twin(autoreset_mode=SAME) as twin:
            twin.reset(seed=0)
            halves = np.array_split(twin.all_ids, 2)
            for half in halves:
                twin.send(half)
            for _ in range(self.num_steps):
                for half in halves:
                    ids = twin.receive(half)
                    require(ids.tolist() == half.tolist(), f"recv(half) returns {half.tolist()}, not {ids.tolist()}")
                    twin.send(half)
            twin.receive()
            require(len(twin.under_way) == 0, "recv: with the default batch size, all that are under way")

    def test_others_step_on_while_some_are_reset(self) -> None:
        """Reset environments at rest while others are under way; these, and their steps, are not touched."""
        with self.shared_twin(autoreset_mode=DISABLED, batch_size=2) as twin:
            venv, num_envs = twin.venv, len(twin.all_ids)
            at_rest = np.zeros(num_envs, np.bool_)
            at_rest[[1, 3]] = True
            for _ in range(3):
                twin.reset(seed=6)
                twin.send(twin.all_ids[~at_rest])
                twin.reset(seed=list(range(60, 60 + num_envs)), mask=at_rest)
                require_refused("reset: an environment of the mask is under way", venv.reset, mask=~at_rest)
                require_refused("reset: environments are under way", venv.reset)
                twin.receive(twin.under_way)
                twin.step()

    def test_a_view_outlives_the_steps_of_others(self) -> None:
        """Read a batch while the environments that are not in it go on."""
        with self.shared_twin(autoreset_mode=SAME, batch_size=2) as twin:
            twin.reset(seed=6)
            twin.send()
            for _ in range(self.num_steps):
                batch, ids = twin.venv.recv()
                then = copied(tuple(batch[:6]))
                twin.account(batch, ids)
                twin.venv.statistics()
                require_same(then, tuple(batch[:6]), "recv: a batch stays as it is while others step")
                twin.send(ids)
            while len(twin.under_way):
                twin.receive()
