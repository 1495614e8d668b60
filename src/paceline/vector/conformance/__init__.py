"""A suite that any execution of vector environments must pass: the data are those of plain environments, bit for bit.

A new backend's test is three lines; pytest finds the checks by inheritance::

    class TestMine(VecEnvConformance):
        def make_vec(self, env, num_envs, **options):
            return MyVecEnv(env, num_envs, num_env_runners=min(2, num_envs), **options)

Every environment of the vector is held against a plain environment beside it, which is stepped with the same actions
by a dozen lines that share no code with any backend (:mod:`paceline.vector.conformance.reference`). What a backend
cannot do, or can do only to a tolerance, it says in attributes (:class:`BackendUnderTest`).

What is covered: each kind of observation space (``Box`` of one and three axes, ``Discrete``, ``MultiDiscrete``,
``MultiBinary``, ``Dict``, ``Tuple``, nested), and with them each kind of action space, in each of the three autoreset
modes, stepped all at once by ``step`` and by ``send`` and ``recv``. A pair of spaces is not every pair: an observation
space comes with one action space. First-ready batches are compared in each mode as well, with one environment, whose
observations are nested and actions a tuple. The other checks (seeds, masks, copies and views, infos by level, refusals,
calls, faults, closing, statistics) use that environment, or one of their own, in one mode each.

Neither pytest nor anything else that is needed only in tests is imported. Checks raise ``AssertionError`` by name, so
that they check under ``python -O`` too; the message states the rule that was broken.
"""

from __future__ import annotations

from paceline.vector.conformance.backend import BackendUnderTest, Case, cases_of
from paceline.vector.conformance.calls import CallChecks
from paceline.vector.conformance.first_ready import FirstReadyChecks
from paceline.vector.conformance.lifecycle import LifecycleChecks
from paceline.vector.conformance.refusals import RefusalChecks
from paceline.vector.conformance.resets import ResetChecks
from paceline.vector.conformance.trajectories import TrajectoryChecks

__all__ = ["BackendUnderTest", "Case", "VecEnvConformance", "cases_of"]


class VecEnvConformance(TrajectoryChecks, ResetChecks, FirstReadyChecks, CallChecks, RefusalChecks, LifecycleChecks):
    """All checks; see :class:`BackendUnderTest` for what a subclass must, and may, say."""
