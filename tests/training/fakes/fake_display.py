"""A display that keeps what it is told."""

from __future__ import annotations

from paceline.training.progress import SilentDisplay


class Listener(SilentDisplay):
    """Keeps the messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)
