"""What is on disk of a run that was stopped, in words that promise no more."""

from __future__ import annotations

from pathlib import Path

from paceline.errors import ResultsError

ALL_SAVED = "everything so far is saved"


def what_training_saved(out: Path) -> str:
    """Say which steps of the training run in ``out`` a resumed run would go on from.

    With ``exact_resume`` that is the last boundary; where a save was broken off, the checkpoint before it. Empty where
    the folder cannot be read.
    """
    from paceline.measure.store import load_progress

    try:
        done = [line.get("total_env_steps", 0) for line in load_progress(out) if line.get("kind") == "iteration"]
        saved = _saved_steps(out / "checkpoints")
    except (OSError, ResultsError):
        return ""
    if not done:
        return "no iteration was finished"
    if saved >= done[-1]:
        return ALL_SAVED
    if not saved:
        return f"there is no checkpoint yet, and --resume begins again: the figures of {done[-1]:,} steps are saved"
    return f"saved up to step {saved:,}: --resume goes on from there and repeats the {done[-1] - saved:,} steps since"


def _saved_steps(checkpoints: Path) -> int:
    """Return the environment steps of the newest checkpoint, 0 where there is none."""
    if not checkpoints.is_dir():
        return 0
    from paceline.training.checkpoint import CheckpointStore

    return max((int(path.name) for path in CheckpointStore(checkpoints).paths()), default=0)
