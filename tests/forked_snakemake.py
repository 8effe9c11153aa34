"""Snakemake in a process of its own that need not import it again: copies of one process that has imported it already."""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SERVER = """
import json, os, sys
import snakemake.cli
for line in sys.stdin:
    call = json.loads(line)
    child = os.fork()
    if not child:
        os.environ.update(call["variables"])
        os.chdir(call["folder"])
        for number, name in enumerate(call["files"]):
            os.dup2(os.open(name, os.O_RDWR), number)
        sys.argv = [snakemake.__file__, *call["arguments"]]
        sys.path[0] = call["folder"]
        snakemake.cli.main(call["arguments"])
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@functools.cache
def server(process: int) -> subprocess.Popen[str]:
    """The process that has imported Snakemake, one for each process of tests."""
    pipe = subprocess.PIPE
    started = subprocess.Popen([sys.executable, "-c", SERVER], stdin=pipe, stdout=pipe, text=True)
    atexit.register(started.communicate)  # closes its input, at which it ends
    return started


def snakemake(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `snakemake` with `arguments` in a folder, with additional environment variables.

    Returns
    -------
    As of `subprocess.run` with captured text.
    """
    asked = server(os.getpid())
    assert asked.stdin is not None
    assert asked.stdout is not None
    with tempfile.TemporaryDirectory() as scratch:
        output, errors = Path(scratch) / "output", Path(scratch) / "errors"
        for path in (output, errors):
            path.touch()
        call = {"folder": str(folder), "arguments": arguments, "variables": variables}
        print(
            json.dumps({**call, "files": [os.devnull, str(output), str(errors)]}),
            file=asked.stdin,
            flush=True,
        )
        status = int(asked.stdout.readline())
        return subprocess.CompletedProcess(
            ["snakemake", *arguments], status, output.read_text(), errors.read_text()
        )
