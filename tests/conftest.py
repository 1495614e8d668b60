"""What all tests share."""

from __future__ import annotations

import signal

# Under nohup SIGHUP is ignored, by the programs that tests start as well; that a closed terminal is survived is tested.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
