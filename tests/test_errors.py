"""The exception tree: drawn as it is, with the right exit status, and messages that say where."""

from __future__ import annotations

import inspect
import re

import pytest

from paceline import errors
from paceline.errors import EnvError, EnvRaisedError, PacelineError, RequestError, WorkError, error_named


def drawn_tree() -> dict[str, str | None]:
    """Return child -> parent as the module's docstring draws it."""
    assert errors.__doc__ is not None
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"^    (?P<stem>[│├└─ ]*)(?P<name>\w+Error)\b", line)
        if match:
            depth = len(match["stem"]) // 4
            del path[depth:]
            parents[match["name"]] = path[-1] if path else None
            path.append(match["name"])
    return parents


def real_classes() -> dict[str, type[PacelineError]]:
    return {
        name: item
        for name, item in vars(errors).items()
        if inspect.isclass(item) and issubclass(item, PacelineError) and item.__module__ == errors.__name__
    }


def test_the_tree_in_the_docstring_is_the_real_one() -> None:
    real = {
        name: None if item is PacelineError else item.__bases__[0].__name__ for name, item in real_classes().items()
    }
    assert drawn_tree() == real
    assert all(len(item.__bases__) == 1 for item in real_classes().values())


@pytest.mark.parametrize("name", sorted(real_classes()))
def test_exit_status_follows_the_branch(name: str) -> None:
    cls = real_classes()[name]
    assert cls.exit_status == (2 if issubclass(cls, RequestError) else 1)
    assert cls.__doc__, "every error says what it means"


def test_every_error_lies_on_one_of_the_two_branches() -> None:
    for cls in real_classes().values():
        assert cls is PacelineError or issubclass(cls, RequestError) != issubclass(cls, WorkError)


def test_an_environment_error_says_which_seed_step_and_action() -> None:
    error = EnvRaisedError("it raised", env_index=3, seed=0, step=17, action=[0.5], original_traceback="Traceback ..")
    assert str(error) == "it raised (env 3, seed 0, step 17, last action [0.5])"
    assert (error.env_index, error.seed, error.step, error.action) == (3, 0, 17, [0.5])
    assert error.original_traceback == "Traceback .."


def test_what_is_not_known_is_not_said() -> None:
    assert str(EnvError("it died")) == "it died"
    assert str(EnvError("it died", env_index=0)) == "it died (env 0)"


def test_errors_keep_their_class_where_paceline_has_it() -> None:
    assert type(error_named("EnvRaisedError", "x")) is EnvRaisedError
    assert type(error_named("KeyError", "x")) is WorkError
    assert type(error_named("annotations", "x")) is WorkError
