#!/usr/bin/env python3
"""exchange - docs/protocol.md to the letter: its executor, and one in C, in its exchange of bytes

    exchange.py PROTOCOL.MD [EXECUTOR]

Plays the worker's part of the exchange that the page shows. Without EXECUTOR, the page's own Python program is the
executor, and must answer byte for byte; EXECUTOR is any program that has a function `shout`, and must give the same
result.
"""
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile


def messages(page):
    """(name, header, data) of each message in the page's hexadecimal listing."""
    out = []
    for name, lines in re.findall(r"\n    ([A-Z]+):.*\n((?:        [0-9a-f ]+\n)+)", page):
        all_bytes = bytes.fromhex(lines.replace("\n", " "))
        header, data = struct.unpack("<II", all_bytes[:8])
        assert len(all_bytes) == 8 + header + data, f"{name}: {len(all_bytes)} bytes, not 8 + {header} + {data}"
        out.append((name, all_bytes[: 8 + header], all_bytes[8 + header :]))
    return out


def receive(stream):
    prefix = stream.read(8)
    assert len(prefix) == 8, "the executor hung up"
    header, data = struct.unpack("<II", prefix)
    return prefix + stream.read(header), stream.read(data)


def start(argv):
    ours, theirs = socket.socketpair()
    ours.settimeout(30)

    def descriptor_3():
        os.dup2(theirs.fileno(), 3)
        os.set_inheritable(3, True)

    environment = dict(os.environ, LADLE_EXECUTOR="1", LADLE_WORKER="here")
    child = subprocess.Popen(
        argv, env=environment, stdin=subprocess.DEVNULL, preexec_fn=descriptor_3, close_fds=False
    )
    theirs.close()
    return child, ours


def main():
    page = open(sys.argv[1], encoding="utf-8").read()
    listing = messages(page)
    assert [name for name, _, _ in listing] == ["HELLO", "WELCOME", "JOB", "SLICE", "RESULTS"], listing
    exact = len(sys.argv) < 3
    with tempfile.NamedTemporaryFile("w", suffix=".py") as program:
        program.write(re.search(r"```python\n(.*?)```", page, re.S)[1])
        program.flush()
        child, worker = start([sys.executable, program.name] if exact else [os.path.abspath(sys.argv[2])])
        stream = worker.makefile("rb")
        for name, header, data in listing:
            if name in ("HELLO", "RESULTS"):
                got = receive(stream)
                if exact:
                    assert got == (header, data), f"{name}: {got} instead of {(header, data)}"
                else:
                    assert got[1] == data, f"{name}: {got[1]} instead of {data}"
            else:
                worker.sendall(header + data)
        stream.close()
        worker.close()
        assert child.wait(timeout=30) == 0, "the executor did not end well at the end of file"


main()
