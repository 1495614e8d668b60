"""Makes the fake environments importable, and undoes what training does to the process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

from paceline.spec import Plan
from paceline.training.runtime import set_up_jax

sys.path.append(str(Path(__file__).parent / "fakes"))


@pytest.fixture(autouse=True, scope="module")
def own_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compile every program once, into a temporary folder; forget the threads that training sets."""
    before = dict(os.environ)
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.getbasetemp() / "compiled")
    set_up_jax(Plan(learner_threads=1, device="cpu"))
    settings: Any = jax.config  # not typed
    kept_from_s = settings.jax_persistent_cache_min_compile_time_secs
    settings.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    yield
    settings.update("jax_persistent_cache_min_compile_time_secs", kept_from_s)
    os.environ.clear()
    os.environ.update(before)
