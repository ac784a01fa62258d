"""Let a process of a run meet its fate at the moment it puts a given product in its place.

Python imports this by itself where its folder is on the path. MEDDLE is JSON: a folder for marks,
and what happens before which product is put in place, once a product:

    kill       the process kills itself; what it has written is cut to half before
    wait       it waits until the mark is removed
    lose PATH  PATH vanishes
"""

import json
import os
import signal
import time
from pathlib import Path

_replace = os.replace
_plan = json.loads(os.environ.get("MEDDLE", "{}"))


def _meet(source, target):
    deed, _, path = _plan["deeds"].get(os.fspath(target), "").partition(" ")
    mark = Path(_plan["marks"], os.path.basename(target))
    past = mark.with_suffix(mark.suffix + ".past")
    if deed and not past.exists():
        past.touch()
        mark.touch()
        if deed == "kill":
            os.truncate(source, os.path.getsize(source) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        if deed == "lose":
            os.unlink(path)
        while deed == "wait" and mark.exists():
            time.sleep(0.02)
    _replace(source, target)


if _plan:
    os.replace = _meet
