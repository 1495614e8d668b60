"""The backend ``native``: batched environments in C threads, no Python per environment on the way of a step.

Two kinds of environment can be run: Gymnasium's MuJoCo tasks (v5), with Gymnasium's own data, and whatever EnvPool has,
which is another implementation. :func:`native_support` says whether an environment is one of them, and
:func:`native_reason` whether it is of the first kind, so that choosing it changes the speed and nothing else.

Importing this package imports neither MuJoCo nor EnvPool.
"""

from paceline.vector.native.support import native_reason, native_support
from paceline.vector.native.vecenv import NativeVecEnv

__all__ = ["NativeVecEnv", "native_reason", "native_support"]
