#!/usr/bin/env python3
"""soak.py - keep a grid under load for a while, and see that nothing of it grows.

See script/soak, which builds and starts this.
"""

import argparse
import collections
import itertools
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time

from checker import Checker
from grid import Failed, Grid
from processes import descriptors, resident, threads, wait_until

STALLED = 60      # seconds in which something must have ended, if something has not
SAMPLE = 3.0      # seconds between samples
VISIT = 6.0       # between clients that come for a moment
VISITORS = 4      # at once: none comes while a slow machine keeps so many
REPLACE = 20.0    # between workers that are drained and started anew
TROUGH = 8        # of so many samples of memory the least one counts: what is on its way comes and
                  # goes, and what leaks stays
WARM_UP = 0.3     # of the time, which does not count
RISE = 0.05       # of its mean is no growth ...
FLOORS = {"KiB": 1024, "fds": 3, "threads": 2}  # ... nor is so much of it
CHECKED = 300000  # tasks of the client that stays, whose history is read in the end; else noted not


# What is freed goes back at once: else each thread's heap grows, in steps and for an hour, to the
# largest result that it ever had, and hides what really grows.
MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536",
          "MALLOC_TRIM_THRESHOLD_": "65536"}


def directory_size(path):
    """KiB of the files below it."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                pass
    return total / 1024


class Series:
    """One figure over time."""

    def __init__(self, name, unit):
        self.name = name
        self.unit = unit
        self.points = []

    def fit(self):
        """After the warm-up: mean, slope a minute, its standard error, and the minutes."""
        points = self.points[int(len(self.points) * WARM_UP):]
        if self.unit == "KiB":
            points = [min(points[i:i + TROUGH], key=lambda point: point[1])
                      for i in range(0, len(points) - TROUGH + 1, TROUGH)]
        n = len(points)
        if n < 3:
            return 0, 0, 0, 0
        times = [time / 60 for time, _ in points]
        values = [value for _, value in points]
        middle, mean = sum(times) / n, sum(values) / n
        spread = sum((t - middle) ** 2 for t in times)
        slope = sum((t - middle) * (v - mean) for t, v in zip(times, values)) / spread
        errors = sum((v - mean - slope * (t - middle)) ** 2 for t, v in zip(times, values))
        return mean, slope, math.sqrt(errors / (n - 2) / spread), times[-1] - times[0]

    def grows(self):
        mean, slope, error, minutes = self.fit()
        rise = slope * minutes
        return rise > max(RISE * mean, FLOORS[self.unit]) and slope > 3 * error

    def row(self):
        mean, slope, _, _ = self.fit()
        return (self.name, self.unit, f"{self.points[0][1]:.0f}", f"{mean:.0f}",
                f"{self.points[-1][1]:.0f}", f"{slope:+.2f}", "GROWING" if self.grows() else "flat")


class Soak:
    def __init__(self, options):
        self.options = options
        self.seconds = options.minutes * 60
        self.directory = tempfile.mkdtemp(prefix="ladle-soak-")
        self.store = os.path.join(self.directory, "store")
        self.grid = Grid(options.build + "/bin", self.directory, 4,
                         ["--store", self.store, "--keep-results", "20s"] if options.store else ())
        self.grid.environment.update(MALLOC)
        self.series = {}
        self.visitors = {}  # number: process
        self.numbers = itertools.count(1)
        self.complaints = []
        self.draining = None
        self.turn = itertools.cycle(self.grid.workers[2:])
        self.visits = collections.Counter()

    # ---- load ------------------------------------------------------------------------------------

    def load(self, number, tasks, seconds, noted=True, detached=False):
        name = f"client-{number}"
        files = [os.path.join(self.directory, f"{kind}-{number}") if noted else "/dev/null"
                 for kind in ("history", "notes")]
        ledger = [os.path.join(self.directory, f"ledger-{number}")] if detached else []
        process = self.grid.make_client(name, [f"{self.grid.bin}/chaos-load", *files, number,
                                               tasks, seconds, *ledger])
        process.start()
        return process

    def check(self, number, process, tasks):
        if process.status() != 0:
            self.complaints.append(f"{process.name} ended with {process.status()}: "
                                   f"see {process.log}")
            return
        paths = [os.path.join(self.directory, f"{kind}-{number}") for kind in ("history", "notes")]
        ledger = os.path.join(self.directory, f"ledger-{number}")
        checker = Checker(number, tasks, os.path.exists(ledger))
        checker.read_history(paths[0])
        checker.read_notes(paths[1])
        self.complaints += [f"{process.name}: {text}" for text in checker.check(0, 1000)]
        for path in [*paths, process.log, ledger]:
            if os.path.exists(path):
                os.remove(path)

    def come_and_go(self):
        for number, (process, tasks) in list(self.visitors.items()):
            if not process.alive():
                del self.visitors[number]
                self.check(number, process, tasks)
                self.visits["client"] += 1
        if len(self.visitors) >= VISITORS:
            return
        number, tasks = next(self.numbers), random.randrange(200, 1000)
        self.visitors[number] = self.load(
            number, tasks, random.uniform(1, 8),
            detached=self.options.store and number % 2 == 1), tasks

    def replace_worker(self):
        if self.draining is None:
            self.draining = next(self.turn)
            self.draining.signal(signal.SIGTERM)

    def watch(self):
        for daemon in self.grid.daemons():
            if daemon.alive():
                continue
            if daemon is not self.draining or daemon.status() != 0:
                raise Failed(f"{daemon.name} ended with {daemon.status()}: see {daemon.log}")
            self.visits["worker"] += 1
            self.draining = None
            daemon.start()
        if not self.resident.alive():
            raise Failed(f"the client that stays ended with {self.resident.status()}: "
                         f"see {self.resident.log}")

    # ---- figures ---------------------------------------------------------------------------------

    def note(self, name, unit, now, value):
        self.series.setdefault((name, unit), Series(name, unit)).points.append((now, value))

    def sample(self, now):
        for process in (*self.grid.daemons()[:3], self.resident):
            self.note(process.name, "KiB", now, resident(process.pid))
            self.note(process.name, "fds", now, descriptors(process.pid))
            self.note(process.name, "threads", now, threads(process.pid))
        if self.options.store:
            self.note("store on disk", "KiB", now, directory_size(self.store))
        for i, worker in enumerate(self.grid.workers):
            self.note(f"cache-{i} on disk", "KiB", now,
                      directory_size(f"{self.directory}/cache-{i}"))
            if i < 2:
                pids = self.grid.executors(worker)
                self.note(f"{worker.name}'s executors", "KiB", now,
                          sum(resident(pid) for pid in pids))

    def table(self):
        rows = [("WHAT", "UNIT", "FIRST", "MEAN", "LAST", "PER MIN", "VERDICT")]
        rows += [series.row() for series in self.series.values()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        for row in rows:
            print("  ".join(cell.ljust(width) if i in (0, 1, 6) else cell.rjust(width)
                            for i, (cell, width) in enumerate(zip(row, widths))).rstrip())

    # ---- all of it -------------------------------------------------------------------------------

    def run_load(self):
        tasks = int(self.seconds * self.options.rate)
        noted = tasks <= CHECKED
        self.grid.start()
        self.resident = self.grid.client = self.load(0, tasks, self.seconds / 0.9, noted)
        self.resident.await_line("chaos-load: ready")
        began = time.monotonic()
        due = {self.sample: SAMPLE, self.come_and_go: VISIT, self.replace_worker: REPLACE}
        next_at = dict.fromkeys(due, 0.0)
        while (now := time.monotonic() - began) < self.seconds:
            self.watch()
            for act, every in due.items():
                if now >= next_at[act]:
                    next_at[act] = now + every
                    act(*([now] if act == self.sample else []))
            time.sleep(0.1)
        self.finish(tasks if noted else None)

    def finish(self, tasks):
        waiting = [self.resident, *(process for process, _ in self.visitors.values())]
        before = None
        while any(process.alive() for process in waiting) and self.progress() != before:
            before = self.progress()
            wait_until(lambda: not any(process.alive() for process in waiting), STALLED)
        for process in waiting:
            if process.alive():
                self.complaints.append(f"{process.name} does not end")
                process.kill()
        for number, (process, count) in self.visitors.items():
            self.check(number, process, count)
        if tasks is not None:
            self.check(0, self.resident, tasks)

    def progress(self):
        """On a slow machine all takes longer, but it goes on."""
        return self.grid.status().get("tasks_done")

    def save(self):
        """Each sample, for who wants to see the curve."""
        with open(os.path.join(self.directory, "samples.csv"), "w", encoding="utf-8") as file:
            for series in self.series.values():
                for when, value in series.points:
                    print(f"{series.name},{series.unit},{when:.1f},{value:.0f}", file=file)

    def run(self):
        try:
            self.run_load()
        except Failed as failure:
            self.complaints.append(str(failure))
        finally:
            self.grid.close()
        if self.series:
            print(f"{self.options.minutes:g} minutes, {self.options.rate} tasks a second of a client "
                  f"that stays; {self.visits['client']} clients and {self.visits['worker']} workers "
                  "came and went")
            self.table()
            print(f"GROWING: a line through what comes after the first {WARM_UP:.0%} of the time "
                  f"rises by more than {RISE:.0%}\nof the mean, more than "
                  + ", ".join(f"{floor} {unit}" for unit, floor in FLOORS.items())
                  + ", and more than three times its standard error.\nOf memory, the least of "
                  f"{TROUGH} samples counts.")
        for complaint in self.complaints[:40]:
            print("!", complaint)
        growing = [series for series in self.series.values() if series.grows()]
        if self.complaints or growing:
            self.save()
            print(f"logs and samples: {self.directory}")
            return 1
        shutil.rmtree(self.directory)
        return 0


def main():
    parser = argparse.ArgumentParser(prog="script/soak", description=__doc__.split("\n")[0])
    parser.add_argument("minutes", type=float)
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--rate", type=int, default=100, help="tasks a second of one client")
    parser.add_argument("--store", action="store_true",
                        help="a broker with a store, and every other visitor's jobs detached")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return Soak(options).run()


if __name__ == "__main__":
    sys.exit(main())
