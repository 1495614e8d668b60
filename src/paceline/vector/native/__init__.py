"""The backend ``native``: environments that are stepped as one, no Python per environment on the way of a step.

Three kinds of environment can be run: Gymnasium's MuJoCo tasks (v5) in C threads and its classic-control tasks in
batched NumPy, both with Gymnasium's own data, and whatever EnvPool has, which is another implementation.
:func:`native_support` says whether an environment is one of them, and :func:`native_way` whether it is of the first two
kinds, so that choosing it changes the speed and nothing else; :func:`native_reason` says so in words.

Importing this package imports neither MuJoCo nor EnvPool.
"""

from paceline.vector.native.support import NativeWay, native_reason, native_support, native_way
from paceline.vector.native.vecenv import NativeVecEnv

__all__ = ["NativeVecEnv", "NativeWay", "native_reason", "native_support", "native_way"]
