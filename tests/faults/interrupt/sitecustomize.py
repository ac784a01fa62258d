"""Interrupt a process of a run at the moment it puts a given product in its place.

Python imports this by itself where its folder is on the path. INTERRUPT is JSON: a folder for
markers, and what happens before which product is put in place, once a product:

    kill       the process kills itself; what it has written is cut to half before
    wait       it waits until the marker, a file with the product's name, is removed
    lose PATH  PATH vanishes
"""

import json
import os
import signal
import time
from pathlib import Path

_replace = os.replace
_plan = json.loads(os.environ.get("INTERRUPT", "{}"))


def _interrupt(source, target):
    action, _, path = _plan["interruptions"].get(os.fspath(target), "").partition(" ")
    marker = Path(_plan["markers"], os.path.basename(target))
    past = marker.with_suffix(marker.suffix + ".past")
    if action and not past.exists():
        past.touch()
        marker.touch()
        if action == "kill":
            os.truncate(source, os.path.getsize(source) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "lose":
            os.unlink(path)
        while action == "wait" and marker.exists():
            time.sleep(0.02)
    _replace(source, target)


if _plan:
    os.replace = _interrupt
