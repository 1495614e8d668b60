"""``paceline doctor``: what machine this is, what would slow or break a run on it, and how to mend it.

Facts are gathered first (:func:`look_around`: it starts two short-lived processes and times a moment of busy work); the
checks are then pure functions of the facts.
"""

from paceline.doctor.checks import Check, exit_status, run_checks
from paceline.doctor.render import doctor_json, render_doctor
from paceline.doctor.surroundings import Probe, Surroundings, look_around, run_probe

__all__ = [
    "Check", "Probe", "Surroundings", "doctor_json", "exit_status", "look_around", "render_doctor", "run_checks",
    "run_probe",
]  # fmt: skip
