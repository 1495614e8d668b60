"""Seconds from typing a command to seeing something.

``paceline --help``; and ``paceline train CartPole-v1`` until its first iteration is printed, with an empty cache of
compiled programs (the first run ever) and with a filled one.

    python -m benchmarks.startup [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import describe, interleave, keep


def help_s() -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "paceline", "--help"], check=True, capture_output=True)
    return time.perf_counter() - begin


def first_iteration_s(cache: Path) -> float:
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "paceline", "train", "CartPole-v1", "--total-steps", "20000", "--out", folder],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        )  # fmt: skip
        assert process.stdout is not None
        seen_s = 0.0
        for line in process.stdout:
            if line.startswith("iteration 1 "):
                seen_s = time.perf_counter() - begin
        if process.wait() or not seen_s:
            raise SystemExit("paceline train CartPole-v1 failed")
        return seen_s


def first_run_ever_s() -> float:
    with tempfile.TemporaryDirectory() as cache:
        return first_iteration_s(Path(cache))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        first_iteration_s(Path(cache))
        samples = interleave(
            {
                "help_s": help_s,
                "first_iteration_empty_cache_s": first_run_ever_s,
                "first_iteration_filled_cache_s": lambda: first_iteration_s(Path(cache)),
            },
            arguments.rounds,
        )
    print(keep("startup", {"seconds": {name: describe(values) for name, values in samples.items()}}))


if __name__ == "__main__":
    main()
