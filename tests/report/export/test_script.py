"""Scripts from templates: nothing that a user names becomes code."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "fakes"))

from made_folders import run_spec
from read_script import comments, constants

from paceline.report.export.gymnasium_loop import render as gymnasium_script
from paceline.report.export.rllib import render as rllib_script
from paceline.report.export.run_file import render as run_file
from paceline.report.export.sb3 import render as sb3_script
from paceline.report.export.script import env_code
from paceline.report.export.source import ExportSource
from paceline.spec import EnvSpec, RunSpec

HOSTILE = "'\"); import os; os.abort()  # \n\r\x0b\u2028\\ {{ 7 * 7 }} {% raw %}"
KWARGS = {HOSTILE: [HOSTILE, {"a": HOSTILE}, 1.5, None, True]}
RENDERERS = [gymnasium_script, rllib_script, sb3_script]


def with_env(env_id: str, kwargs: dict[str, Any]) -> RunSpec:
    return run_spec().model_copy(update={"env": EnvSpec(id=env_id, kwargs=kwargs)})


def imports_and_calls(script: str) -> list[str]:
    nodes = ast.walk(ast.parse(script))
    return sorted(
        ast.unparse(node.func if isinstance(node, ast.Call) else node)
        for node in nodes
        if isinstance(node, ast.Call | ast.Import | ast.ImportFrom)
    )


@pytest.mark.parametrize("render", RENDERERS)
@pytest.mark.parametrize("env_id", [f"own:{HOSTILE}", f"{HOSTILE}:Env", f"synthetic:{HOSTILE}", HOSTILE])
def test_names_and_arguments_stay_data(render: Any, env_id: str) -> None:
    usual = render(ExportSource(with_env(env_id.replace(HOSTILE, "x-v0"), {"x": 1}), ("facts",)))
    hostile = render(ExportSource(with_env(env_id, KWARGS), (HOSTILE,)))
    assert imports_and_calls(hostile) == imports_and_calls(usual)
    texts = {node.value for node in ast.walk(ast.parse(hostile)) if isinstance(node, ast.Constant)}
    assert {env_id, HOSTILE} & texts
    assert 49 not in texts


@pytest.mark.parametrize("render", [rllib_script, sb3_script])
def test_arguments_of_the_environment_arrive_as_they_are(render: Any) -> None:
    assert constants(render(ExportSource(with_env("CartPole-v1", KWARGS), ())))["ENV_KWARGS"] == KWARGS


@pytest.mark.parametrize("render", [*RENDERERS, run_file])
def test_facts_are_comments_of_one_width(render: Any) -> None:
    facts = ("a fact " * 40, "another")
    text = render(ExportSource(run_spec(), facts))
    head = [line for line in text.splitlines() if line.startswith("#")]
    assert max(map(len, head)) <= 120
    assert " ".join(facts[0].split()) in comments(text)


@pytest.mark.parametrize(
    ("env_id", "kind", "name", "attribute", "module"),
    [
        ("CartPole-v1", "registered", "CartPole-v1", "", ""),
        ("my.envs:Thing-v0", "registered", "my.envs:Thing-v0", "", "my.envs"),
        ("my.envs:Thing", "callable", "my.envs", "Thing", "my.envs"),
        ("synthetic:busy?us=10&sigma=0.5", "paceline", "synthetic:busy", "", ""),
    ],
)
def test_every_kind_of_name_has_a_way_to_be_built(
    env_id: str, kind: str, name: str, attribute: str, module: str
) -> None:
    code = env_code(EnvSpec(id=env_id, kwargs={"given": 1}), "sb3")
    assert (code.kind, code.id, code.attribute, code.module) == (kind, name, attribute, module)
    query = {"us": 10, "sigma": 0.5} if "?" in env_id else {}
    assert code.kwargs == {**query, "given": 1}
