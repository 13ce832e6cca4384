"""Stands for ./fathom in a clone: one process with everything loaded forks for each command.

At smoke size a stage takes less time than Python, torch and seaborn take to load. That ./fathom
itself starts is tested elsewhere. As a script: the server, for an address.
"""

import atexit
import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

LOADED = ("commands", "sweeps.sweep", "law", "claim", "draw", "theory")
CLIENT = """#!{python} -IS
import json, os, socket, sys
there = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
there.connect("{address}")
said = json.dumps([sys.argv, os.getcwd(), dict(os.environ)])
socket.send_fds(there, [said.encode()], [0, 1, 2])
sys.exit(int(there.recv(16) or 1))
"""


@contextlib.contextmanager
def forked(clone: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """While it lasts a clone's ./fathom is a fork of a process that has loaded what the
    environment's Python finds as fathom."""
    address, command = clone.parent / "commands", clone / "fathom"
    said = command.read_text()
    words = [sys.executable, __file__, str(address)]
    with subprocess.Popen(words, cwd=clone, env=environment, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stdout.readline() == b"listening\n"
        command.write_text(CLIENT.format(python=sys.executable, address=address))
        try:
            yield
        finally:
            command.write_text(said)
            server.kill()


def serve(address: str) -> None:
    """Fork for each connection, for ever."""
    for name in LOADED:
        importlib.import_module(f"fathom.{name}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(address)
    listening.listen()
    print("listening", flush=True)
    while True:
        there, _ = listening.accept()
        if os.fork() == 0:
            answer(there)
        there.close()


def answer(there: socket.socket) -> None:
    """Do what a client asks, with its output, folder and environment; send the exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    said, files, *_ = socket.recv_fds(there, 2**20, 3)
    words, folder, environment = json.loads(said)
    for here, file in enumerate(files):
        os.dup2(file, here)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    code, sys.argv = 1, ["fathom", *words[1:]]
    try:
        code = importlib.import_module("fathom.__main__").main()
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    there.send(str(code).encode())
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
