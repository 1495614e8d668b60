from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

CHECKS = {
    "attribute first": "import paceline; f = paceline.sweep; import paceline.sweep.grid; g = paceline.sweep",
    "module first": "import paceline.sweep.grid; f = paceline.sweep; from paceline import sweep as g",
    "from first": "from paceline import sweep as f; import paceline.sweep.runner; import paceline; g = paceline.sweep",
    "from the package": "from paceline.sweep import sweep as f; import paceline; g = paceline.sweep",
}


@pytest.mark.parametrize("code", CHECKS.values(), ids=CHECKS.keys())
def test_sweep_is_a_function_and_a_package_in_any_order_of_imports(code: str) -> None:
    code += "; assert f is g, (f, g); assert callable(f); assert f.plan_sweep is f.grid.plan_sweep"
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"], check=True)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import paceline.sweep; assert not {'jax', 'numpy', 'rich', 'gymnasium'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"], check=True)


def test_the_callable_takes_what_the_function_takes() -> None:
    import paceline
    from paceline.sweep import runner

    shared = ("spec", "out", "resume", "dry_run", "display")
    of_call = inspect.signature(type(paceline.sweep).__call__).parameters
    of_function = inspect.signature(runner.sweep).parameters
    assert [of_call[name] for name in shared] == [of_function[name] for name in shared]


def test_exported_names_are_there() -> None:
    import paceline.sweep as package

    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        package.no_such_name  # noqa: B018
