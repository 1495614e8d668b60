"""A runner that leaves a child behind, which keeps open whatever the runner had open."""

from __future__ import annotations

import json
import os
import signal
import struct
from multiprocessing.connection import Connection

from paceline.vector.runners.protocol import pack_message, receive_message, send_message


def main(arguments: str) -> None:
    """Start the child, say something as told, and stay; the child leaves at the end of the pipe ``memory_fd``."""
    given = json.loads(arguments)
    channel = Connection(given["control_fd"])
    message = receive_message(channel)
    if os.fork() == 0:
        os.read(given["memory_fd"], 1)
        os._exit(0)
    send_message(channel, "child started")
    payload = pack_message("said last")
    if message == "whole":
        channel.send_bytes(payload)
    elif message == "half":
        os.write(given["control_fd"], struct.pack("!i", len(payload)) + payload[:-1])
    while True:
        signal.pause()
