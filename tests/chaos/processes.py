"""Processes of a run, all of which bear its mark in their environment."""

import ctypes
import os
import re
import signal
import subprocess
import time

MARK = "LADLE_CHAOS_MARK"
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """What must not be; the text says what."""


def die_with_driver():
    """In a child: nothing outlives the driver, however that ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(condition, seconds, pause=0.05):
    """True once `condition()` holds; False if it does not within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def marked(mark):
    """{pid: name} of the living processes of the run `mark`."""
    found = {}
    want = f"{MARK}={mark}".encode()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and want in read(f"/proc/{entry}/environ").split(b"\0"):
            found[int(entry)] = read(f"/proc/{entry}/comm").decode().strip()
    return found


def parent(pid):
    match = re.search(rb"^PPid:\s+(\d+)", read(f"/proc/{pid}/status"), re.M)
    return int(match[1]) if match else 0


def descends(pid, ancestor):
    while pid > 1:
        pid = parent(pid)
        if pid == ancestor:
            return True
    return False


def executable(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def descriptors(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def threads(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def resident(pid):
    """KiB of memory that are its own."""
    match = re.search(rb"^RssAnon:\s+(\d+) kB", read(f"/proc/{pid}/status"), re.M)
    return int(match[1]) if match else 0


class Process:
    """One that is started, and may be started again; both its outputs go to NAME.log."""

    def __init__(self, name, command, directory, environment):
        self.name = name
        self.command = [str(word) for word in command]
        self.log = os.path.join(directory, f"{name}.log")
        self.environment = environment
        self.process = None
        self.starts = 0

    def start(self):
        with open(self.log, "ab") as log:
            self.mark = log.tell()
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.environment,
                                            preexec_fn=die_with_driver)
        self.starts += 1

    @property
    def pid(self):
        return self.process.pid

    def status(self):
        """None while it lives; else its exit status, -N if signal N killed it."""
        return self.process.poll()

    def alive(self):
        return self.process is not None and self.status() is None

    def signal(self, number):
        if self.alive():
            self.process.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()

    def wrote(self, text):
        """Since it was started last."""
        return text.encode() in read(self.log)[self.mark:]

    def await_line(self, text, seconds=20):
        if not wait_until(lambda: self.wrote(text) or not self.alive(), seconds) or \
                not self.wrote(text):
            raise Failed(f"{self.name} does not get ready: see {self.log}")
