"""Processes for bench.py: run one to its end, or start daemons and take them down, always."""

import collections
import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """A program that was measured failed; the text says how."""


class Missing(Exception):
    """A peer is not installed; the text says what to install."""


def die_with_bench():
    """In a child: no daemon outlives the benchmark, however that ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def figures(text):
    """The numbers of "name value" lines; of a name that comes twice, the last."""
    result = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2:
            with contextlib.suppress(ValueError):
                result[words[0]] = float(words[1])
    return result


def run(command, timeout=300, started=None):
    """The figures that `command` prints; `started` is called when it says "started"."""
    command = [str(word) for word in command]
    name = " ".join([os.path.basename(command[0])] + command[1:])
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True,
                              stdin=subprocess.DEVNULL, preexec_fn=die_with_bench) as process:
            timer = threading.Timer(timeout, process.kill)
            timer.start()
            lines = []
            for line in process.stdout:
                lines.append(line)
                if started is not None and line.strip() == "started":
                    started()
            status = process.wait()
            late = not timer.is_alive()
            timer.cancel()
        errors.seek(0)
        words = " | ".join(errors.read().strip().splitlines()[-3:])
    if late:
        raise Failed(f"{name}: not done after {timeout} s {words}")
    if status != 0:
        raise Failed(f"{name}: ended with {status}: {words}")
    return figures("".join(lines))


def has_module(python, name):
    return subprocess.run([str(python), "-c", f"import {name}"], stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


class Daemon:
    """A process that prints a line when it is ready."""

    def __init__(self, command, ready, timeout=15):
        self.name = os.path.basename(str(command[0]))
        self.lines = collections.deque(maxlen=20)
        self.match = None
        self.pattern = re.compile(ready)
        self.changed = threading.Event()
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        preexec_fn=die_with_bench)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        if not self.changed.wait(timeout) or self.match is None:
            self.stop()
            raise Failed(f"{self.name} does not get ready: " + " | ".join(self.lines))

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.strip())
            if self.match is None and (match := self.pattern.search(line)):
                self.match = match
                self.changed.set()
        self.changed.set()

    def peak_memory(self):
        """Peak resident memory, in MiB."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) / 1024

    def kill(self):
        self.process.send_signal(signal.SIGKILL)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(1)
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop()


class Grid:
    """A broker and its workers, on loopback; `store`: with a store there."""

    def __init__(self, bin_dir, slots, store=None):
        self.stack = contextlib.ExitStack()
        try:
            self.start(bin_dir, slots, store)
        except BaseException:
            self.stack.close()
            raise

    def start(self, bin_dir, slots, store):
        directory = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="ladle-bench-"))
        self.broker = self.stack.enter_context(Daemon(
            [bin_dir / "ladle-broker", "--bind", "tcp://127.0.0.1:0"]
            + (["--store", store] if store else []),
            r"ladle-broker: ready at (\S+)"))
        self.endpoint = self.broker.match[1].rstrip(",")
        self.workers = [self.stack.enter_context(Daemon(
            [bin_dir / "ladle-worker", "--broker", self.endpoint, "--slots", count,
             "--name", f"bench{i}", "--directory", f"{directory}/{i}"],
            r"ladle-worker: ready")) for i, count in enumerate(slots)]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stack.close()


class Zmq:
    """zmq_proxy and two echoing workers for tasks of `size` bytes, a process each."""

    def __init__(self, bin_dir, size):
        self.peer = bin_dir / "zmq-peer"
        self.stack = contextlib.ExitStack()
        try:
            proxy = self.stack.enter_context(Daemon([self.peer, "proxy"], r"ready (\S+) (\S+)"))
            self.front = proxy.match[1]
            for _ in range(2):
                self.stack.enter_context(
                    Daemon([self.peer, "worker", proxy.match[2], size], "ready"))
        except BaseException:
            self.stack.close()
            raise
        time.sleep(0.2)  # bare libzmq has no way to say that it is connected

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stack.close()


class Gearman:
    """gearmand with two workers. One thread (-t 1) is its faster way."""

    def __init__(self, bin_dir):
        self.peer = bin_dir / "gearman-peer"
        gearmand = shutil.which("gearmand", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if gearmand is None or not self.peer.exists():
            raise Missing("install gearman-job-server and libgearman-dev (script/bootstrap "
                          "--bench), and build again")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.stack = contextlib.ExitStack()
        try:
            self.start(gearmand)
        except BaseException:
            self.stack.close()
            raise

    def start(self, gearmand):
        directory = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="ladle-bench-"))
        self.stack.enter_context(Daemon(
            ["sh", "-c", 'echo started; exec "$0" "$@"', gearmand, "-t", "1", "-L", "127.0.0.1",
             "-p", self.port, "-l", f"{directory}/log"], "started"))
        deadline = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    break
            if time.monotonic() > deadline:
                raise Failed("gearmand does not get ready")
            time.sleep(0.02)
        self.workers = [self.stack.enter_context(Daemon([self.peer, "worker", self.port], "ready"))
                        for _ in range(2)]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stack.close()
