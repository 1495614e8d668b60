"""Checks of misuse: refused with a sentence, and nothing has happened."""

from __future__ import annotations

from typing import Any

import numpy as np

from paceline.vector.conformance.backend import SAME, BackendUnderTest
from paceline.vector.conformance.equality import flattened, mapped, require_refused


class RefusalChecks(BackendUnderTest):
    """Calls out of order, foreign indices, actions that do not fit."""

    def test_calls_out_of_order_are_refused(self) -> None:
        """Step before a reset, send twice, receive without sending."""
        with self.twin(autoreset_mode=SAME) as twin:
            venv = twin.venv
            actions = twin.actions.batch(twin.steps, twin.all_ids)
            require_refused("step: before reset", venv.step, actions)
            require_refused("send: before reset", venv.send, actions)
            require_refused("recv: before reset", venv.recv)
            twin.reset(seed=1)
            require_refused("recv: without send", venv.recv)
            require_refused("recv(env_ids): without send", venv.recv, [0])
            twin.step()
            twin.send()
            require_refused("send: twice", venv.send, actions)
            require_refused("send(env_ids): twice", venv.send, actions, twin.all_ids)
            require_refused("step: while steps are under way", venv.step, actions)
            require_refused("reset: while steps are under way", venv.reset)
            require_refused("reset(mask): while its environments are under way", venv.reset, mask=twin.all_ids == 0)
            twin.receive()
            twin.step()

    def test_indices_that_do_not_fit_are_refused(self) -> None:
        """Name environments that there are not, twice, or in another form than integers."""
        with self.shared_twin(autoreset_mode=SAME, batch_size=2) as twin:
            venv, n = twin.venv, len(twin.all_ids)
            twin.reset(seed=1)
            two = twin.actions.batch(np.zeros(2, np.int64), np.arange(2))
            bad: list[Any] = [[0, n], [-1, 0], [1, 1], [0.0, 1.0], [], [[0, 1]], [True, False], 0, ["a", "b"], None]
            for ids in bad[:-1]:
                require_refused(f"send: env_ids {ids}", venv.send, two, ids)
            require_refused("send: two actions for all environments", venv.send, two)
            twin.send([0, 1, 3])
            for ids in bad[:-1]:
                require_refused(f"recv: env_ids {ids}", venv.recv, ids)
            require_refused("recv: an environment that is at rest", venv.recv, [0, 2])
            while len(twin.under_way):
                twin.receive()
            twin.step()

    def test_actions_that_do_not_fit_are_refused(self) -> None:
        """Give too many, too few, of another shape, kind or nesting."""
        with self.shared_twin(autoreset_mode=SAME) as twin:
            venv, n = twin.venv, len(twin.all_ids)
            twin.reset(seed=1)
            good = twin.actions.batch(twin.steps, twin.all_ids)
            bad = {
                "one too few": mapped(lambda array: array[1:], good),
                "one too many": mapped(lambda array: np.concatenate((array, array[:1])), good),
                "an axis too many": mapped(lambda array: array[:, None], good),
                "of complex numbers": mapped(lambda array: array.astype(np.complex64), good),
                "words": mapped(lambda array: array.astype(str), good),
                "nothing": None,
                "a number": 0,
            }
            if not isinstance(good, np.ndarray):
                bad["not nested"] = flattened(good)[0]
                bad["a part too few"] = dict(list(good.items())[1:]) if isinstance(good, dict) else good[1:]
            for name, actions in bad.items():
                require_refused(f"step: actions {name}", venv.step, actions)
                require_refused(f"send: actions {name}", venv.send, actions)
                require_refused(f"send(env_ids): actions {name}", venv.send, actions, twin.all_ids)
            if n > 2:
                require_refused("send(env_ids): actions of all for two", venv.send, good, [0, 1])
            twin.step()
