"""Checks of ``call``, ``get_attr``, ``set_attr`` and ``render``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from paceline.errors import EnvRaisedError
from paceline.vector.base import VecEnv
from paceline.vector.conformance.backend import SAME, BackendUnderTest
from paceline.vector.conformance.equality import require, require_refused, require_same
from paceline.vector.conformance.probe import ProbeEnv


class CallChecks(BackendUnderTest):
    """Reaching into the environments."""

    def test_environments_can_be_reached(self) -> None:
        """Call, read, set and render; where there are no environment objects, be told so."""
        if not self.runs_own_envs:
            self._require_unreachable()
            return
        with self.opened(ProbeEnv) as venv:
            n = venv.num_envs
            venv.reset(seed=0)
            require_same(venv.env_seeds, venv.np_random_seed, "np_random_seed: that of each environment")
            require(venv.render_mode == "rgb_array", "render_mode is the environments'")
            require(venv.metadata["render_fps"] == 7, "metadata is the environments'")
            require_same((0.0,) * n, venv.get_attr("level"), "get_attr: a value of each environment")
            levels = [float(10 * k) for k in range(n)]
            venv.set_attr("level", levels)
            require_same(tuple(levels), venv.get_attr("level"), "set_attr: a list holds one value for each, in order")
            require_same(tuple(levels), venv.call("level"), "call: an attribute that is no method is read")
            scaled = venv.call("scaled", 2.0, plus=1.0)
            require_same(tuple(2 * level + 1 for level in levels), scaled, "call: arguments reach every environment")
            frames: Any = venv.render()
            expected = tuple(np.full((2, 3, 3), level, np.uint8) for level in levels)
            require(isinstance(frames, tuple), "render: a tuple with a frame of each environment")
            require_same(expected, frames, "render: frames in the order of the environments")
            _, rewards, *_ = venv.step(np.zeros(n, np.int64))
            require_same(np.array(levels), rewards, "set_attr: the environments themselves were changed")
            venv.set_attr("level", 3.0)
            require_same((3.0,) * n, venv.get_attr("level"), "set_attr: one value is given to all")
            venv.set_attr("level", tuple(levels))

            require_refused("get_attr: no such attribute", venv.get_attr, "lever")
            require_refused("call: no such method", venv.call, "lever", 1)
            for name in ("reset", "step", "close"):
                require_refused(f"call: {name} goes behind the vector's back", venv.call, name)
            require_refused("set_attr: a value too few", venv.set_attr, "level", levels[1:])
            venv.send(np.zeros(n, np.int64))
            for rule, call, arguments in (
                ("call", venv.call, ("scaled", 1.0)),
                ("get_attr", venv.get_attr, ("level",)),
                ("set_attr", venv.set_attr, ("level", 0.0)),
            ):
                require_refused(f"{rule}: while steps are under way", call, *arguments)
            batch, _ = venv.recv()
            require_same(np.array(levels), batch.rewards, "a refused call changes nothing")
            require_same((1,) * n, venv.get_attr("num_calls"), "call: each method once")
            require_told(venv)

    def _require_unreachable(self) -> None:
        with self.shared_twin(autoreset_mode=SAME) as twin:
            venv = twin.venv
            twin.reset(seed=0)
            require_refused("call: there are no environment objects", venv.call, "reset")
            require_refused("get_attr: there are no environment objects", venv.get_attr, "spec")
            require_refused("set_attr: there are no environment objects", venv.set_attr, "spec", None)
            require_refused("render: there are no environment objects", venv.render)
            twin.step()


def require_told(venv: VecEnv) -> None:
    """Require that what a method, or the setting of an attribute, raises is told in an error of our own."""
    calls: dict[str, Callable[[], Any]] = {
        "call": lambda: venv.call("fails"),
        "set_attr": lambda: venv.set_attr("sealed", 1.0),
    }
    for name, call in calls.items():
        try:
            call()
        except EnvRaisedError as error:
            require("KeyError" in str(error), f"{name}: the message names what was raised, not {error}")
            require("KeyError" in error.original_traceback, f"{name}: the error carries the original traceback")
        except Exception as error:
            raise AssertionError(f"{name}: EnvRaisedError says what was raised, not {error!r}") from error
        else:
            raise AssertionError(f"{name}: what an environment raises is not swallowed")
    venv.get_attr("level")  # and the vector goes on
