"""Interrupt a process of a run at the moment when it puts a given product in place.

Python imports this file if its folder is on the path. The variable INTERRUPT is JSON: a folder for
marker files, and the action before each named product is put in place. An action is done once per
product:

    kill       truncate the temporary file to half, then kill the process
    wait       wait until the marker file, which has the name of the product, is removed
    lose PATH  remove PATH
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
