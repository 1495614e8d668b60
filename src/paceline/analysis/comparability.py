"""What a reader must know before believing a comparison of training runs: machines, budgets, seeds, runs that broke."""

from __future__ import annotations

from collections.abc import Sequence

from paceline.analysis.cautions import replaced, worst_first
from paceline.analysis.contenders import Contender, budget_text
from paceline.analysis.over_seeds import MIN_DUEL_SEEDS
from paceline.analysis.stats import FULL_SAMPLES
from paceline.analysis.table import Notice
from paceline.measure.trained_run import TrainedRun


def compared_notices(
    contenders: Sequence[Contender], horizon: float | None, left_out: Sequence[str] = ()
) -> tuple[Notice, ...]:
    """Return what weakens a comparison, worst first.

    Args:
        contenders: all of them, those without a finished iteration included.
        horizon: steps at which learning is compared, None where all ran about equally long.
        left_out: folders without results.
    """
    notices = [
        *_machine_notices(contenders),
        *_run_notices(contenders, left_out),
        *_budget_notices(contenders, horizon),
        *_seed_notices(contenders),
        *_record_notices(contenders),
    ]
    if len(contenders) > 1:
        text = (
            "The runs were measured one after the other, or at different times: a machine that was busier during some "
            "of them looks like a difference in speed."
        )
        notices.append(Notice("not-interleaved", text, "info"))
    return worst_first(notices)


def _machine_notices(contenders: Sequence[Contender]) -> list[Notice]:
    machines = {item.name: sorted({run.info.machine_fingerprint for run in item.runs}) for item in contenders}
    seen = {fingerprint for each in machines.values() for fingerprint in each}
    if "" in seen:
        text = "Some runs do not say on which machine they ran: speeds and times may be those of different machines."
        return [Notice("unknown-machine", text, "caution")]
    if len(seen) == 1:
        return []
    where = "; ".join(f"{name} on {', '.join(each)}" for name, each in machines.items())
    text = f"The machines differ ({where}): speeds and times compare machines as well as programs."
    return [Notice("other-machine", text, "problem")]


def _run_notices(contenders: Sequence[Contender], left_out: Sequence[str]) -> list[Notice]:
    notices = []
    for item in contenders:
        without = [run for run in item.runs if not run.result.iterations]
        if without:
            what = "is left out" if len(without) == len(item.runs) else "counts without them"
            text = f"{item.name} {what}: no iteration was finished in {_named(without)}."
            notices.append(Notice("nothing-measured", text, "problem", (item.name,)))
        broken = [run for run in item.runs if run.result.outcome != "ok" and run.result.iterations]
        if broken:
            text = f"{item.name} has runs that ended early, counted with what they had: {_named(broken)}."
            notices.append(Notice("incomplete", text, "caution", (item.name,)))
        restarts = sum(len(run.restarts) for run in item.runs)
        if restarts:
            text = f"{item.name}: {replaced(restarts)} replaced on the way."
            notices.append(Notice("restarts", text, "info", (item.name,)))
    if left_out:
        text = f"Left out, because they have no results.json (stopped, or still running): {', '.join(left_out)}."
        notices.append(Notice("left-out", text, "caution"))
    return notices


def _named(runs: Sequence[TrainedRun]) -> str:
    return ", ".join(f"{run.folder} ({run.result.outcome})" for run in runs)


def _budget_notices(contenders: Sequence[Contender], horizon: float | None) -> list[Notice]:
    budgets = {item.name: text for item in contenders if (text := budget_text(item.budget))}
    notices = []
    if len(set(budgets.values())) > 1:
        told = "; ".join(f"{name} {text}" for name, text in budgets.items())
        text = f"The budgets differ ({told}): final returns are those of different lengths of training."
        notices.append(Notice("budgets", text, "caution"))
    if horizon is not None:
        text = (
            f"The runs are of different lengths in steps: which learns better per step is judged after "
            f"{horizon:,.0f} steps, as far as all of them ran."
        )
        notices.append(Notice("horizon", text, "caution"))
    return notices


def _seed_notices(contenders: Sequence[Contender]) -> list[Notice]:
    notices = []
    few = [item for item in contenders if len(item.runs) < FULL_SAMPLES]
    if few:
        told = ", ".join(f"{item.name} {len(item.runs)}" for item in few)
        text = (
            f"Too few seeds for every 95% interval ({told}): final returns and times to a return need {FULL_SAMPLES} "
            f"of a contender, who learns better {MIN_DUEL_SEEDS} of each. Train with further --seed values."
        )
        notices.append(Notice("few-seeds", text, "caution", tuple(item.name for item in few)))
    for item in contenders:
        twice = sorted({seed for seed in item.seeds if item.seeds.count(seed) > 1})
        if twice:
            text = (
                f"{item.name} has several runs with seed {', '.join(map(str, twice))}: they may hold the same data, "
                f"and then count double."
            )
            notices.append(Notice("same-seed", text, "caution", (item.name,)))
    return notices


def _record_notices(contenders: Sequence[Contender]) -> list[Notice]:
    runs = [run for item in contenders for run in item.runs]
    notices = []
    late = [run for run in runs if run.result.iterations and _steps_before(run) > 0]
    if late:
        told = ", ".join(f"{run.folder} from step {_steps_before(run):,}" for run in late)
        text = f"Resumed under another plan, so that what went before is not in their times: {told}."
        notices.append(Notice("resumed", text, "caution"))
    if any(run.env_kwargs is None for run in runs):
        text = "Some folders have no spec.yaml: whether their environments had the same arguments is not known."
        notices.append(Notice("unknown-arguments", text, "caution"))
    versions = sorted({run.info.paceline_version for run in runs})
    if len(versions) > 1:
        text = f"Measured by different versions of paceline ({', '.join(version or '?' for version in versions)})."
        notices.append(Notice("versions", text, "info"))
    return notices


def _steps_before(run: TrainedRun) -> int:
    first = run.result.iterations[0]
    return first.total_env_steps - first.num_env_steps
