"""A broker, workers and a client on this machine, each behind a proxy of its own."""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import time

from processes import MARK, Failed, Process, descends, descriptors, executable, marked, wait_until
from proxy import Proxy

SLOTS = 2  # of each worker


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Grid:
    def __init__(self, bin_dir, directory, workers, options=()):
        self.bin = bin_dir
        self.directory = directory
        self.mark = secrets.token_hex(8)
        self.temporary = os.path.join(directory, "tmp")
        os.makedirs(self.temporary)
        self.environment = {**os.environ, MARK: self.mark, "TMPDIR": self.temporary,
                            "XDG_CACHE_HOME": self.temporary,
                            "XDG_STATE_HOME": os.path.join(directory, "state")}
        self.environment.pop("LADLE_BROKER", None)
        self.port = free_port()
        self.endpoint = f"tcp://127.0.0.1:{self.port}"
        self.broker = Process("broker", [f"{bin_dir}/ladle-broker", "--bind", self.endpoint,
                                         *options], directory, self.environment)
        self.proxies = [Proxy(self.port) for _ in range(workers)]
        self.workers = [self.make_worker(i) for i in range(workers)]
        self.client_proxy = Proxy(self.port)
        self.client = None

    def make_worker(self, i):
        return Process(f"worker-{i}", [
            f"{self.bin}/ladle-worker", "--broker", self.proxies[i].endpoint, "--name", f"w{i}",
            "--slots", SLOTS, "--directory", f"{self.directory}/cache-{i}"],
            self.directory, self.environment)

    def start(self):
        self.broker.start()
        self.broker.await_line("ladle-broker: ready")
        for worker in self.workers:
            worker.start()
        for worker in self.workers:
            worker.await_line("ladle-worker: ready")

    def make_client(self, name, command):
        environment = {**self.environment, "LADLE_BROKER": self.client_proxy.endpoint}
        return Process(name, command, self.directory, environment)

    def daemons(self):
        return [self.broker, *self.workers]

    def parties(self):
        return [*self.daemons(), *([self.client] if self.client else [])]

    def executors(self, worker):
        """Their pids: what runs a program from the cache of a worker, below that."""
        if not worker.alive():
            return []
        return sorted(pid for pid in marked(self.mark)
                      if "/cache-" in executable(pid) and descends(pid, worker.pid))

    def status(self):
        """What `ladle status --json` says; {} if nobody answers."""
        answer = subprocess.run([f"{self.bin}/ladle", "status", "--json", "--broker",
                                 self.endpoint, "--timeout", "5000"], capture_output=True,
                                check=False)
        return json.loads(answer.stdout) if answer.returncode == 0 else {}

    def heal(self):
        for proxy in [*self.proxies, self.client_proxy]:
            proxy.heal()
        for pid in marked(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        for party in self.parties():
            if not party.alive() and (party is not self.client or
                                      party.status() == -signal.SIGKILL):
                party.start()

    def whole(self):
        """All workers are there, and nothing is held or at work."""
        status = self.status()
        rows = status.get("workers", [])
        return (status.get("workers_connected") == len(self.workers) == len(rows) and
                status.get("jobs_open") == 0 and status.get("bytes_held") == 0 and
                all(row["busy"] == row["queued"] == row["parked"] == 0 for row in rows))

    def open_descriptors(self):
        return {daemon.name: descriptors(daemon.pid) for daemon in self.daemons()}

    def stop(self):
        """In order, with what each says when it ends."""
        complaints = []
        for daemon in [*self.workers, self.broker]:
            daemon.signal(signal.SIGTERM)
            if not wait_until(lambda d=daemon: not d.alive(), 15):
                complaints.append(f"{daemon.name} does not end after SIGTERM")
            elif daemon.status() != 0:
                complaints.append(f"{daemon.name} ended with {daemon.status()} after SIGTERM")
        return complaints

    def left_behind(self):
        complaints = []
        if not wait_until(lambda: not marked(self.mark), 10):
            complaints += [f"process {pid} ({name}) is left" for pid, name in
                           marked(self.mark).items()]
        for entry in os.listdir(self.temporary):
            complaints.append(f"{self.temporary}/{entry} is left")
        for i in range(len(self.workers)):
            work = f"{self.directory}/cache-{i}/work"
            complaints += [f"{work}/{entry} is left" for entry in os.listdir(work)]
        return complaints

    def close(self):
        """Whatever happened."""
        for proxy in [*self.proxies, self.client_proxy]:
            proxy.close()
        for party in self.parties():
            if party.process is not None:
                party.kill()
        end = time.monotonic() + 5
        while (left := marked(self.mark)) and time.monotonic() < end:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


__all__ = ["Failed", "Grid", "SLOTS"]
