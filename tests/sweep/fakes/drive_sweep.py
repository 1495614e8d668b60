"""A user's script: runs a sweep of fake trials. It has no ``__main__`` guard, on purpose.

Usage: python drive_sweep.py OUT COUNTER PIDS [--resume]
"""

import sys

import fake_trials

import paceline
from paceline.spec import EnvSpec, PPOSpec, RunSpec

out, counter, pids = sys.argv[1:4]
try:
    paceline.sweep(
        RunSpec(
            env=EnvSpec(id="Fake-v0", kwargs={"counter": counter, "pids": pids}),
            algo=PPOSpec(batch_size=64, minibatch_size=32),
        ),
        out,
        num_env_runners=[0, 1],
        num_envs_per_env_runner=[1, 4],
        iterations=2,
        resume="--resume" in sys.argv,
        resolve=lambda runs: [fake_trials.fill_in(run) for run in runs],
        entry_point="fake_trials:hang_at_third_point",
    )
except KeyboardInterrupt:
    print("INTERRUPTED")
    sys.exit(130)
