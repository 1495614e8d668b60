"""What changes what is learned: batch sizes, minibatches, epochs that were asked for, under the plan that won.

They are measured like any what-if, and marked; the fastest of them is recommended only if
:mod:`paceline.tuner.learning_check` finds that it learns as well by the clock.
"""

from __future__ import annotations

import itertools
from typing import Any

from pydantic import ValidationError

from paceline.spec import RunSpec
from paceline.tuner.spec import TuneSpec
from paceline.tuner.what_ifs import Question

_WORDS = {"batch_size": "batch", "minibatch_size": "minibatch", "num_epochs": "epochs"}


def variants(spec: TuneSpec, winner: RunSpec, update_share: float) -> tuple[list[Question], tuple[str, ...]]:
    """Return the combinations of the values that were asked for, but for the winner's own, and why others cannot be.

    Args:
        spec: with ``try_batch_sizes``, ``try_minibatch_sizes`` and ``try_num_epochs``.
        winner: the run under the plan that won.
        update_share: share of its time that updates take.
    """
    tried = {
        "batch_size": spec.try_batch_sizes,
        "minibatch_size": spec.try_minibatch_sizes,
        "num_epochs": spec.try_num_epochs,
    }
    left_out = [
        f"{winner.algo.name} has no {name}: values of it were not tried."
        for name, values in tried.items()
        if values and name not in type(winner.algo).model_fields
    ]
    own = {name: getattr(winner.algo, name, None) for name in tried}
    names = [name for name in tried if name in type(winner.algo).model_fields]
    found = []
    for values in itertools.product(*(dict.fromkeys((own[name], *tried[name])) for name in names)):
        changed = {name: value for name, value in zip(names, values, strict=True) if value != own[name]}
        if changed:
            question = _variant(winner, changed, own, update_share)
            if isinstance(question, Question):
                found.append(question)
            else:
                left_out.append(question)
    return found, tuple(left_out)


def _variant(winner: RunSpec, changed: dict[str, Any], own: dict[str, Any], update_share: float) -> Question | str:
    """Return the question, or why it cannot be asked."""
    what = ", ".join(f"{_WORDS[name]} {value} in place of {own[name]}" for name, value in changed.items())
    try:
        algo = type(winner.algo).model_validate({**winner.algo.model_dump(), **changed})
    except ValidationError as error:
        why = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        return f"Not tried: {what}: {why}."
    if (algo.batch_size or 1) % winner.plan.num_envs:
        return f"Not tried: {what}: a batch of it is not made of whole steps of {winner.plan.num_envs} environments."
    factor = None
    if changed.keys() == {"num_epochs"} and own["num_epochs"]:
        factor = 1.0 / (1.0 - update_share * (1.0 - changed["num_epochs"] / own["num_epochs"]))
    run = winner.model_copy(update={"algo": algo})
    return Question(what[0].upper() + what[1:], factor, run, learns_differently=True, requested=True)


def options_of(winner: RunSpec, other: RunSpec) -> str:
    """Return the options of ``paceline train`` that make ``other`` of ``winner``."""
    words = []
    for name in _WORDS:
        value = getattr(other.algo, name, None)
        if value != getattr(winner.algo, name, None):
            words.append(f"--{name.replace('_', '-')} {value}")
    return " ".join(words)
