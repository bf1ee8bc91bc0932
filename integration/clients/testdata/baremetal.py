"""Runs command lines of the baremetal client in one process.

Reads one JSON list of arguments a line, and writes one JSON object a line: the
exit status, and what the command wrote. Starting Python once for each command
would take a second each time. The first line written lists the client's
commands, as its package declares them, and its version.
"""

import contextlib
import importlib.metadata
import io
import json
import logging
import sys
import traceback

from ironicclient import shell

GROUP = "openstack.baremetal.v1"
PREFIX = "baremetal_"


def commands():
    found = importlib.metadata.entry_points(group=GROUP)
    return sorted({point.name.removeprefix(PREFIX).replace("_", " ") for point in found})


def run(args):
    # Each shell installs handlers of its own that write to its own streams.
    for handler in list(logging.getLogger().handlers):
        logging.getLogger().removeHandler(handler)
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            status = shell.main(args)
        except SystemExit as end:
            status = end.code
        except BaseException:
            traceback.print_exc()
            status = 70
    return {"status": status or 0, "stdout": out.getvalue(), "stderr": errors.getvalue()}


def answer(value):
    sys.__stdout__.write(json.dumps(value) + "\n")
    sys.__stdout__.flush()


answer({"commands": commands(), "version": importlib.metadata.version("python-ironicclient")})
for line in sys.stdin:
    answer(run(json.loads(line)))
