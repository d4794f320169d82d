#!/usr/bin/env python3
"""chaos.py - break a grid of real processes at random, and see that nothing is lost.

See script/chaos, which builds and starts this.
"""

import argparse
import collections
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from checker import Checker
from faults import STORE_KINDS, Breaker, plan, read_plan
from grid import Failed, Grid
from processes import marked, read, wait_until

EXECUTOR_DESCRIPTORS = 4  # that a worker has open for one that lives
STALLED = 20  # seconds in which something must have ended, if not all has in time
SETTLE = 20  # seconds until a grid whose client has left is at rest


class Round:
    """One seed: a load, faults, and the judgement."""

    def __init__(self, options, seed):
        self.options = options
        self.seed = seed
        self.directory = tempfile.mkdtemp(prefix=f"ladle-chaos-{seed}-")
        self.history = os.path.join(self.directory, "history")
        self.notes = os.path.join(self.directory, "notes")
        self.plan = read_plan(options.plan) if options.plan else \
            plan(seed, options.seconds, options.workers, options.only, options.store)
        self.grid = Grid(options.build + "/bin", self.directory, options.workers,
                         ["--store", f"{self.directory}/store"] if options.store else ())
        self.breaker = Breaker(self.grid, self.say)
        self.complaints = self.breaker.complaints
        self.events = open(os.path.join(self.directory, "events"), "w", encoding="utf-8")

    def say(self, text):
        print(text, file=self.events, flush=True)
        if self.options.verbose:
            print("   ", text, flush=True)

    def start(self):
        self.grid.start()
        self.descriptors = self.grid.open_descriptors()
        self.grid.client = self.grid.make_client("client", [
            f"{self.grid.bin}/chaos-load", self.history, self.notes, self.seed, self.options.tasks,
            self.options.seconds,
            *([f"{self.directory}/ledger"] if self.options.store else [])])
        self.grid.client.start()
        self.grid.client.await_line("chaos-load: ready")

    def break_things(self):
        began = time.monotonic()
        faults = collections.deque(self.plan)
        while (now := time.monotonic() - began) < self.options.seconds:
            self.breaker.advance(now)
            while faults and faults[0].at <= now:
                self.breaker.strike(faults.popleft())
            if self.grid.client.status() not in (None, -signal.SIGKILL):
                break
            time.sleep(0.02)
        self.say(f"{now:6.2f} s all heals")
        self.breaker.heal()

    def wait_for_client(self, seconds):
        end = time.monotonic() + seconds
        while self.grid.client.alive() and time.monotonic() < end:
            self.breaker.advance(0)
            time.sleep(0.05)
        return not self.grid.client.alive()

    def await_client(self):
        """For longer on a machine so slow that all still goes on, but not for ever."""
        began = time.monotonic()
        patience, before = self.options.patience, None
        done = self.wait_for_client(patience)
        while not done and before != (before := self.grid.status().get("tasks_done")) and \
                time.monotonic() < began + 3 * patience:
            done = self.wait_for_client(STALLED)
        if not done:
            self.complaints.append(f"the client has not ended {time.monotonic() - began:.0f} s "
                                   "after all was healed")
            self.examine()
            self.grid.client.kill()
        elif self.grid.client.status() != 0:
            self.complaints.append(f"the client ended with {self.grid.client.status()}")

    def examine(self):
        """What hangs, while it hangs."""
        with open(os.path.join(self.directory, "hang"), "w", encoding="utf-8") as file:
            print(self.grid.status(), file=file, flush=True)
            if shutil.which("gdb"):
                for pid, name in marked(self.grid.mark).items():
                    print(f"==== {name} {pid}", file=file, flush=True)
                    subprocess.run(["gdb", "-p", str(pid), "-batch", "-ex",
                                    "thread apply all backtrace"], stdout=file, stderr=file,
                                   stdin=subprocess.DEVNULL, check=False)

    def look_around(self):
        """The grid without its client, and what is left of it when it is gone, too."""
        if not wait_until(self.grid.whole, SETTLE, 0.5):
            self.complaints.append(f"the grid is not at rest {SETTLE} s later: "
                                   f"{self.grid.status()}")
        if not wait_until(lambda: not self.more_descriptors(), SETTLE, 0.5):
            self.complaints += self.more_descriptors()
        self.complaints += self.grid.stop()
        self.complaints += self.grid.left_behind()

    def read_logs(self):
        """For what ends a process that chaos did not mean to end, and may be hidden by a retry."""
        for party in self.grid.parties():
            for line in read(party.log).decode(errors="replace").splitlines():
                if any(word in line for word in ("Sanitizer", "runtime error:", "Assertion")):
                    self.complaints.append(f"{party.name}: {line}")

    def more_descriptors(self):
        """Beyond those of executors that wait for more work."""
        now = self.grid.open_descriptors()
        for worker in self.grid.workers:
            now[worker.name] -= EXECUTOR_DESCRIPTORS * len(self.grid.executors(worker))
        return [f"{name} has {now[name]} descriptors, and had {before} at first"
                for name, before in self.descriptors.items() if now[name] > before]

    def judge(self):
        checker = Checker(self.seed, self.options.tasks, self.options.store)
        for reader, path in ((checker.read_history, self.history),
                             (checker.read_notes, self.notes)):
            if os.path.exists(path):
                reader(path)
        self.read_logs()
        self.complaints += checker.check(self.breaker.resets, self.breaker.losses)
        return checker

    def run(self):
        began = time.monotonic()
        checker = None
        try:
            self.start()
            self.break_things()
            self.await_client()
            self.look_around()
            checker = self.judge()
        except Failed as failure:
            self.complaints.append(str(failure))
        finally:
            self.grid.close()
            self.events.close()
        self.report(checker, time.monotonic() - began)
        return not self.complaints

    def report(self, checker, seconds):
        again = f"{checker.repeated()} begun more than once, " if checker else ""
        print(f"{'FAILED ' if self.complaints else 'ok     '} seed {self.seed}: "
              f"{self.options.tasks} tasks, {again}{len(self.plan)} faults, {seconds:.0f} s",
              flush=True)
        if not self.complaints:
            if not self.options.keep:
                shutil.rmtree(self.directory)
            return
        for fault in self.plan if not self.options.verbose else ():
            print("   ", fault)
        for complaint in self.complaints[:40]:
            print("    !", complaint)
        if len(self.complaints) > 40:
            print(f"    ! and {len(self.complaints) - 40} more")
        print(f"    logs of all parties, history and notes: {self.directory}")
        print(f"    once more: script/chaos --seed {self.seed} --seconds {self.options.seconds:g} "
              f"--workers {self.options.workers} --tasks {self.options.tasks}"
              f"{' --store' if self.options.store else ''}", flush=True)


def parse():
    parser = argparse.ArgumentParser(prog="script/chaos", description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--seed", type=int, help="of the first round; the next has the next one")
    parser.add_argument("--seconds", type=float, default=60, help="of faults in a round")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--tasks", type=int, default=20000)
    parser.add_argument("--patience", type=float, default=120,
                        help="seconds in which all must end after the faults")
    parser.add_argument("--only", action="append", choices=STORE_KINDS, metavar="FAULT",
                        help="faults of this kind; may be given several times: " + " ".join(STORE_KINDS))
    parser.add_argument("--store", action="store_true", help="detached jobs and a broker with a "
                        "store; the client is killed, too, and finds its jobs again")
    parser.add_argument("--plan", help="a file of faults, in the lines that a failed round prints")
    parser.add_argument("--keep", action="store_true", help="keep the logs of good rounds, too")
    parser.add_argument("--verbose", action="store_true", help="tell each fault as it comes")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    if options.seed is None:
        options.seed = secrets.randbelow(1 << 31)
    return options


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    passed = sum(Round(options, options.seed + i).run() for i in range(options.rounds))
    print(f"{passed} passed, {options.rounds - passed} failed")
    return 0 if passed == options.rounds else 1


if __name__ == "__main__":
    sys.exit(main())
