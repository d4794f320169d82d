#!/usr/bin/env python3
"""Measure Ladle beside its peers, on this machine, in this run.

Absolute figures drift from machine to machine and hour to hour; ratios of what ran in turns do
not. Each figure runs in rounds that alternate between Ladle and the peer; medians count.
"""

import argparse
import contextlib
import json
import math
import pathlib
import random
import statistics
import sys
import tempfile
import threading
import time

from daemons import Failed, Gearman, Grid, Missing, Zmq, has_module, run

PEERS = pathlib.Path(__file__).parent / "peers"
MILLION = 1_000_000
FIGURES = {}


def figure(what, goal=None):
    """Add a function to the figures: it returns a Measured. `goal` is (">=" or "<=", number)."""
    def add(function):
        FIGURES[function.__name__.replace("_", "-")] = (function, what, goal)
        return function
    return add


class Measured:
    """What one figure came to. `value` is what the goal is about: a ratio, or ours alone."""

    def __init__(self, unit, ours, peer=None, peer_name="", value=None, note=""):
        self.unit, self.ours, self.peer, self.peer_name = unit, ours, peer, peer_name
        self.value = ours if value is None else value
        self.note = note


class Bench:
    """Where the programs are, and how often to run them."""

    def __init__(self, build, rounds, clock):
        self.bin, self.rounds, self.clock = pathlib.Path(build) / "bin", rounds, clock
        # Debian's, if it is there: the version that the goals were set against.
        debian = pathlib.Path("/usr/bin/python3")
        self.python = debian if debian.exists() else sys.executable

    def ladle(self, endpoint, slots, *command, **options):
        return run([self.bin / "ladle-bench", endpoint, slots, *command], **options)

    def pool(self, *command):
        return run([self.python, PEERS / "pool_peer.py", *command])

    def rounds_of(self, ours, peer, rounds=None):
        """Medians of the numbers that the two calls give, run in turns."""
        taken = {ours: [], peer: []}
        for i in range(rounds or self.rounds):
            for call in (ours, peer) if i % 2 == 0 else (peer, ours):
                if call is not None:
                    taken[call].append(call())
        medians = [statistics.median(taken[call]) if call else None for call in (ours, peer)]
        spread = " ".join(f"{value:.4g}" for value in taken[ours])
        return medians[0], medians[1], f"ours: {spread}"


# ---- map and submit of no-op tasks ---------------------------------------------------------------


@figure("map of a million no-op tasks, local pool, tasks/s", (">=", 1.2))
def w2_map_local(b):
    ours, peer, note = b.rounds_of(
        lambda: b.ladle("local:2", 2, "map", MILLION, 64, 1)["rate"],
        lambda: b.pool(2, "map", MILLION, 64)["rate"])
    return Measured("/s", ours, peer, "Pool.map", ours / peer, note)


@figure("the same through broker and worker, tasks/s", (">=", 1.2))
def w2_map_grid(b):
    with Grid(b.bin, [2]) as grid:
        ours, peer, note = b.rounds_of(
            lambda: b.ladle(grid.endpoint, 2, "map", MILLION, 64, 1)["rate"],
            lambda: b.pool(2, "map", MILLION, 64)["rate"])
    return Measured("/s", ours, peer, "Pool.map", ours / peer, note)


@figure("the same, against bare libzmq with 1,000 tasks a message")
def w2_map_zmq(b):
    with Grid(b.bin, [2]) as grid, Zmq(b.bin, 64) as zmq:
        ours, peer, note = b.rounds_of(
            lambda: b.ladle(grid.endpoint, 2, "map", MILLION, 64, 1)["rate"],
            lambda: run([zmq.peer, "stream", zmq.front, 1000, 1000, 64, 16])["rate"])
    return Measured("/s", ours, peer, "bare libzmq", ours / peer, note)


# ---- detached jobs -------------------------------------------------------------------------------


@figure("a detached map through the store, 10^5 tasks/s", (">=", 1))
def store_map(b):
    with tempfile.TemporaryDirectory(prefix="ladle-bench-") as store:
        with Grid(b.bin, [2], store) as grid:
            ours = max(b.ladle(grid.endpoint, 2, "detached", MILLION, 64, 1)["rate"]
                       for _ in range(b.rounds))
    return Measured("/s", ours, 100000, "the goal", ours / 100000)


@figure("a map in memory, where there is a store, against none", (">=", 0.95))
def store_idle(b):
    with tempfile.TemporaryDirectory(prefix="ladle-bench-") as store:
        with Grid(b.bin, [2], store) as kept, Grid(b.bin, [2]) as grid:
            ours, peer, note = b.rounds_of(
                lambda: b.ladle(kept.endpoint, 2, "map", MILLION, 64, 1)["rate"],
                lambda: b.ladle(grid.endpoint, 2, "map", MILLION, 64, 1)["rate"])
    return Measured("/s", ours, peer, "no store", ours / peer, note)


def replay_figure(b, tasks, jobs):
    """Seconds from the start of a broker to its line, with so many tasks that have not ended."""
    with tempfile.TemporaryDirectory(prefix="ladle-bench-") as store:
        with Grid(b.bin, [2], store) as grid:
            b.ladle(grid.endpoint, 2, "deposit", tasks, 64, jobs)
            grid.broker.kill()
        took = []
        for _ in range(b.rounds):
            start = time.monotonic()
            with Grid(b.bin, [], store) as grid:
                took.append(time.monotonic() - start)
                grid.broker.kill()
    seconds = min(took)
    return Measured("s", seconds, 1, "the goal", seconds)


@figure("replay of a store with a job of 100,000 tasks, s", ("<=", 1))
def store_replay(b):
    return replay_figure(b, 100000, 1)


@figure("replay of a store with 10,000 jobs of 10 tasks, s", ("<=", 1))
def store_replay_jobs(b):
    return replay_figure(b, 10, 10000)


def submit_figure(b, endpoint, how):
    with Gearman(b.bin) as gearman:
        ours, peer, note = b.rounds_of(
            lambda: b.ladle(endpoint, 2, "submit", MILLION, 64, 1, how)["rate"],
            lambda: run([gearman.peer, "rate", gearman.port, 20000, 64, 1000])["rate"])
    return Measured("/s", ours, peer, "gearmand", ours / peer, note)


@figure("a million futures_submit, future_result each, local, tasks/s", (">=", 15))
def w2_submit_local(b):
    return submit_figure(b, "local:2", "result")


@figure("a million futures_submit, futures_next, local, tasks/s", (">=", 15))
def w2_submit_next_local(b):
    return submit_figure(b, "local:2", "next")


@figure("a million futures_submit, future_result each, grid, tasks/s", (">=", 15))
def w2_submit_grid(b):
    with Grid(b.bin, [2]) as grid:
        return submit_figure(b, grid.endpoint, "result")


@figure("a million futures_submit, futures_next, grid, tasks/s", (">=", 15))
def w2_submit_next_grid(b):
    with Grid(b.bin, [2]) as grid:
        return submit_figure(b, grid.endpoint, "next")


# ---- one task, and large ones --------------------------------------------------------------------


@figure("one submit, awaited, local pool, µs", ("<=", 1.2))
def w1_local(b):
    ours, peer, note = b.rounds_of(
        lambda: b.ladle("local:2", 2, "latency", 3000, 64)["us"],
        lambda: b.pool(2, "apply", 3000, 64)["us"])
    return Measured("us", ours, peer, "Pool.apply", ours / peer, note)


@figure("one submit, awaited, grid, µs", ("<=", 1.4))
def w1_grid(b):
    def raw():
        return (run([zmq.peer, "latency", zmq.front, 3000, 64])["us"] +
                run([zmq.peer, "socketpair", 3000, 64])["us"])

    with Grid(b.bin, [2]) as grid, Zmq(b.bin, 64) as zmq:
        ours, peer, note = b.rounds_of(
            lambda: b.ladle(grid.endpoint, 2, "latency", 3000, 64)["us"], raw)
    return Measured("us", ours, peer, "zmq_proxy + socketpair", ours / peer, note)


def echo_figure(b, endpoint):
    with Zmq(b.bin, 1 << 20) as zmq:
        ours, peer, note = b.rounds_of(
            lambda: b.ladle(endpoint, 2, "map", 256, 1 << 20, 3)["mbs"],
            lambda: run([zmq.peer, "stream", zmq.front, 256, 1, 1 << 20, 8])["mbs"])
    return Measured("MB/s", ours, peer, "bare libzmq", ours / peer, note)


@figure("1 MiB echoed, grid, MB/s (0.7 is wanted)")
def w3_grid(b):
    with Grid(b.bin, [2]) as grid:
        return echo_figure(b, grid.endpoint)


@figure("1 MiB echoed, local pool, MB/s")
def w3_local(b):
    return echo_figure(b, "local:2")


# ---- uneven work, sleeps, a lost worker ----------------------------------------------------------


def busy_figure(b, endpoint):
    """400 tasks, lognormal with sigma 1 and a mean of 20 ms; over ideal: makespan * slots / sum."""
    generator = random.Random(20)
    with tempfile.NamedTemporaryFile("w", prefix="ladle-bench-") as file:
        for _ in range(400):
            print(generator.lognormvariate(math.log(0.020) - 0.5, 1), file=file)
        file.flush()
        ours, peer, note = b.rounds_of(
            lambda: b.ladle(endpoint, 2, "busy", file.name, b.clock)["over"],
            lambda: run([b.bin / "spin-peer", 2, file.name, b.clock])["over"])
    return Measured("x ideal", ours, peer, "a shared counter", note=note)


@figure("makespan of 400 uneven tasks, local, over the ideal", ("<=", 1.03))
def w4_local(b):
    return busy_figure(b, "local:2")


@figure("makespan of 400 uneven tasks, grid, over the ideal", ("<=", 1.03))
def w4_grid(b):
    with Grid(b.bin, [2]) as grid:
        return busy_figure(b, grid.endpoint)


def nap_figure(b, endpoint):
    ours, peer, note = b.rounds_of(
        lambda: b.ladle(endpoint, 64, "sleep", 12800, 10)["share"],
        lambda: b.pool(64, "sleep", 12800, 10)["share"])
    return Measured("of ideal", ours, peer, "Pool.map, chunksize 1", note=note)


@figure("10 ms sleeps on 64 slots, local, share of the ideal (0.97 is wanted)")
def w5_local(b):
    return nap_figure(b, "local:64")


@figure("10 ms sleeps on 64 slots, grid, share of the ideal (0.97 is wanted)")
def w5_grid(b):
    with Grid(b.bin, [64]) as grid:
        return nap_figure(b, grid.endpoint)


def sleep64_figure(b, ladle):
    ours, peer, note = b.rounds_of(ladle, lambda: 1e3 * b.pool(64, "sleep", 64, 100)["seconds"])
    return Measured("ms", ours, peer, "Pool.map, chunksize 1", note=note)


@figure("64 sleeps of 100 ms on 64 slots, local, ms", ("<=", 200))
def sleep64_local(b):
    return sleep64_figure(
        b, lambda: 1e3 * b.ladle("local:64", 64, "sleep", 64, 100)["seconds"])


@figure("the same with the pool's start, ms", ("<=", 200))
def sleep64_local_cold(b):
    ours, peer, note = b.rounds_of(
        lambda: 1e3 * b.ladle("local:64", 64, "cold", 64, 100)["cold"],
        lambda: 1e3 * b.pool(64, "sleep", 64, 100)["cold"])
    return Measured("ms", ours, peer, "Pool and map", note=note)


@figure("64 sleeps of 100 ms on 64 slots, grid, ms", ("<=", 200))
def sleep64_grid(b):
    with Grid(b.bin, [64]) as grid:
        return sleep64_figure(
            b, lambda: 1e3 * b.ladle(grid.endpoint, 64, "sleep", 64, 100)["seconds"])


@figure("the same by a new program: connect, upload, start executors, ms", ("<=", 200))
def sleep64_grid_cold(b):
    def ladle():
        with Grid(b.bin, [64]) as grid:
            return 1e3 * b.ladle(grid.endpoint, 64, "cold", 64, 100)["cold"]

    ours, peer, note = b.rounds_of(ladle, lambda: 1e3 * b.pool(64, "sleep", 64, 100)["cold"])
    return Measured("ms", ours, peer, "Pool and map", note=note)


def with_kill(worker, measure):
    """Run `measure`, and kill the worker 0.3 s after it has started."""
    def started():
        timer = threading.Timer(0.3, worker.kill)
        timer.daemon = True
        timer.start()

    return measure(started)["seconds"]


@figure("worker killed 0.3 s into 200 sleeps of 10 ms on 2 workers, s (best: 1.7)", ("<=", 1.85))
def kill(b):
    def ladle():
        with Grid(b.bin, [1, 1]) as grid:
            return with_kill(grid.workers[0], lambda started: b.ladle(
                grid.endpoint, 2, "sleep", 200, 10, started=started))

    def gearmand():
        with Gearman(b.bin) as gearman:
            return with_kill(gearman.workers[0], lambda started: run(
                [gearman.peer, "sleep", gearman.port, 200, 10], started=started))

    try:
        ours, peer, note = b.rounds_of(ladle, gearmand)
    except Missing as missing:
        ours, peer, note = b.rounds_of(ladle, None)
        note = f"{note}; gearmand not measured: {missing}"
    return Measured("s", ours, peer, "gearmand", note=note)


# ---- flat in the number of tasks -----------------------------------------------------------------


def flat_figure(b, endpoint, what, *how):
    many, few, note = b.rounds_of(
        lambda: b.ladle(endpoint, 2, what, MILLION, 64, 1, *how)["rate"],
        lambda: b.ladle(endpoint, 2, what, 10_000, 64, 21, *how)["rate"])
    return Measured("/s", many, few, "10,000 tasks", many / few, note)


@figure("map of a million tasks against 10,000, local, tasks/s", (">=", 0.8))
def flat_map_local(b):
    return flat_figure(b, "local:2", "map")


@figure("a million submits against 10,000, local, tasks/s", (">=", 0.8))
def flat_submit_local(b):
    return flat_figure(b, "local:2", "submit", "result")


@figure("map of a million tasks against 10,000, grid, tasks/s", (">=", 0.8))
def flat_map_grid(b):
    with Grid(b.bin, [2]) as grid:
        return flat_figure(b, grid.endpoint, "map")


@figure("a million submits against 10,000, grid, tasks/s", (">=", 0.8))
def flat_submit_grid(b):
    with Grid(b.bin, [2]) as grid:
        return flat_figure(b, grid.endpoint, "submit", "result")


@figure("peak memory of the broker after 50 million lazy inputs, MiB", ("<=", 200))
def imap50m(b):
    with Grid(b.bin, [2]) as grid:
        before = grid.broker.peak_memory()
        client = b.ladle(grid.endpoint, 2, "imap", 50 * MILLION, timeout=600)
        return Measured("MiB", grid.broker.peak_memory(), before, "before",
                        note=f"{client['rate']:,.0f} tasks/s; client: {client['rss']:.0f} MiB")


# ---- nested tasks --------------------------------------------------------------------------------


def nested_figure(b, endpoint, depth, fan, *command):
    """Tasks/s, beside SCOOP's of a tree of about the same size, if it is installed."""
    def peer():
        return run([b.python, "-m", "scoop", "-n", 2, PEERS / "scoop_peer.py", depth, fan])["rate"]

    scoop = has_module(b.python, "scoop")
    ours, theirs, note = b.rounds_of(lambda: b.ladle(endpoint, 2, *command)["rate"],
                                     peer if scoop else None)
    # Where SCOOP is not installed: 20 times the most that it was seen to reach, 15,000 tasks/s.
    return Measured("/s", ours, theirs, "SCOOP" if scoop else "(SCOOP is not installed)",
                    ours / theirs if scoop else ours / 15000, note)


@figure("a tree of 19,531 nested tasks, local pool, tasks/s", (">=", 20))
def nested_tree_local(b):
    return nested_figure(b, "local:2", 6, 5, "tree", 6, 5)


@figure("the same through broker and worker, tasks/s", (">=", 20))
def nested_tree_grid(b):
    with Grid(b.bin, [2]) as grid:
        return nested_figure(b, grid.endpoint, 6, 5, "tree", 6, 5)


@figure("fibonacci(24) by naive recursion, 150,049 tasks, local pool, tasks/s", (">=", 20))
def nested_fibonacci_local(b):
    return nested_figure(b, "local:2", 6, 5, "fibonacci", 24)


@figure("the same through broker and worker, tasks/s", (">=", 20))
def nested_fibonacci_grid(b):
    with Grid(b.bin, [2]) as grid:
        return nested_figure(b, grid.endpoint, 6, 5, "fibonacci", 24)


@figure("memory of an executor in which 10,000 tasks wait, MiB", ("<=", 400))
def nested_parked(b):
    parked = b.ladle("local:1", 1, "parked", 10000)
    return Measured("MiB", parked["mib"], note=f"{parked['each']:.3g} KiB each")


# ---- the table -----------------------------------------------------------------------------------


def show(number):
    if number is None:
        return "-"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def judge(value, goal):
    if goal is None:
        return "report"
    return "ok" if (value >= goal[1] if goal[0] == ">=" else value <= goal[1]) else "MISSED"


def measure(b, name):
    function, what, goal = FIGURES[name]
    row = {"name": name, "what": what, "goal": f"{goal[0]} {goal[1]}" if goal else "-"}
    try:
        m = function(b)
    except Missing as missing:
        return row | {"verdict": "not measured", "note": str(missing)}
    except (Failed, OSError, KeyError) as error:
        return row | {"verdict": "FAILED", "note": f"{type(error).__name__}: {error}"}
    ratio = m.ours / m.peer if m.peer else None
    return row | {"unit": m.unit, "ours": m.ours, "peer": m.peer, "peer_name": m.peer_name,
                  "ratio": ratio, "verdict": judge(m.value, goal), "note": m.note}


def print_row(row):
    peer = f"{show(row.get('peer'))} {row.get('peer_name', '')}"
    ours = f"{show(row.get('ours'))} {row.get('unit', '')}"
    print(f"{row['name']:<21} {ours:>16}  {peer:<32} {show(row.get('ratio')):>7}  "
          f"{row['goal']:<8} {row['verdict']}", flush=True)
    if row["verdict"] in ("FAILED", "not measured") or row["name"] in ("imap50m", "nested-parked"):
        print(f"{'':<21} {row['note']}", flush=True)


def chosen(names):
    """Figures by name or by the beginning of their names."""
    picked = [f for f in FIGURES if not names or any(f.startswith(name) for name in names)]
    for name in names:
        if not any(f.startswith(name) for f in FIGURES):
            sys.exit(f"bench: no figure {name}; there are: {', '.join(FIGURES)}")
    return picked


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="script/bench")
    parser.add_argument("names", metavar="NAME", nargs="*",
                        help="figures, or the beginning of their names; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    parser.add_argument("--build", metavar="DIR", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true", help="list the figures")
    parser.add_argument("--clock", choices=["cpu", "wall", "sleep"], default="cpu",
                        help="what makes a task of w4 end (sleep: on a machine that others use)")
    options = parser.parse_args()
    if options.list:
        for name in chosen(options.names):
            print(f"{name:<21} {FIGURES[name][1]}")
        return 0

    b = Bench(options.build, max(1, options.rounds), options.clock)
    rows = []
    print(f"{'what':<21} {'ours':>16}  {'peer':<32} {'ratio':>7}  {'goal':<8} verdict")
    with contextlib.suppress(KeyboardInterrupt):
        for name in chosen(options.names):
            rows.append(measure(b, name))
            print_row(rows[-1])
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(
            {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "rounds": b.rounds,
             "figures": rows}, indent=1) + "\n")
    return 1 if any(row["verdict"] in ("MISSED", "FAILED") for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
