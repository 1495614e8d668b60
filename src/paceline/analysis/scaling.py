"""stub"""
from __future__ import annotations

from typing import Literal

Rating = Literal["excellent", "good", "fair", "inefficient"]
