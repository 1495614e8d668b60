"""The face of the package."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import pytest

import paceline

SRC = str(Path(paceline.__file__).parents[1])


def python(code: str, *arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={"PYTHONPATH": SRC},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = ["jax", "gymnasium", "numpy", "pydantic", "matplotlib", "scipy", "mujoco", "rich"]
    code = "import sys, json, paceline; print(json.dumps([n for n in json.loads(sys.argv[1]) if n in sys.modules]))"
    assert json.loads(python(code, json.dumps(heavy))) == []


def test_every_exported_member_resolves() -> None:
    assert len(paceline.__all__) <= 25
    assert sorted(set(paceline.__all__)) == sorted(paceline.__all__)
    assert dir(paceline) == sorted(paceline.__all__)
    code = "import paceline; print([n for n in paceline.__all__ if getattr(paceline, n) is None])"
    assert python(code) == "[]\n"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        paceline.nothing  # noqa: B018


def test_names_are_the_objects_of_their_homes() -> None:
    from paceline.errors import PacelineError
    from paceline.spec import Plan, RunSpec

    assert (paceline.PacelineError, paceline.Plan, paceline.RunSpec) == (PacelineError, Plan, RunSpec)
    assert callable(paceline.train) and callable(paceline.sweep) and callable(paceline.make_vec)
    assert paceline.scaling.speedup is not None
    import_module("paceline.sweep.grid")  # a package and a function by the same name
    assert callable(paceline.sweep) and paceline.sweep.grid is sys.modules["paceline.sweep.grid"]


@pytest.mark.slow
def test_a_script_without_a_main_guard_trains_with_runners(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import paceline

            print("read")
            result = paceline.train(
                "CartPole-v1",
                algo=paceline.PPOSpec(batch_size=64, minibatch_size=32, num_epochs=1),
                plan=paceline.Plan(num_env_runners=2, num_envs_per_env_runner=2),
                budget=paceline.Budget(iterations=2),
                out="run",
            )
            action = paceline.Policy.load("run").act([0.0, 0.0, 0.0, 0.0])
            print(result.outcome, len(result.iterations), int(action) in (0, 1))
            """
        )
    )
    run = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
    # The script is read once: runners do not import it again.
    assert python(run, str(script), cwd=tmp_path) == "read\nok 2 True\n"
