#!/usr/bin/env python3
"""multiprocessing.Pool, the peer on one machine.

pool_peer.py SLOTS map COUNT SIZE      map with its default chunks
pool_peer.py SLOTS apply COUNT SIZE    one task, awaited
pool_peer.py SLOTS echo COUNT SIZE     large tasks
pool_peer.py SLOTS busy FILE           busy for the seconds that the lines of FILE say, one a chunk
pool_peer.py SLOTS sleep COUNT MS      sleeps, one a chunk; prints cold (with the pool's start), too
"""

import multiprocessing
import statistics
import sys
import time


def noop(data):
    return data


def busy(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def timed(call, *args):
    start = time.perf_counter()
    result = call(*args)
    return time.perf_counter() - start, result


def measure_map(pool, count, size):
    inputs = [i.to_bytes(8, "little").ljust(size, b".") for i in range(count)]
    pool.map(noop, inputs[:1000])
    seconds, results = timed(pool.map, noop, inputs)
    assert results == inputs
    return {"seconds": seconds, "rate": count / seconds, "mbs": count * size / seconds / 1e6}


def measure_apply(pool, count, size):
    data = bytes(size)
    took = [timed(pool.apply, noop, (data,))[0] for _ in range(count)]
    return {"us": 1e6 * statistics.median(took)}


def measure_busy(pool, path, slots):
    with open(path) as file:
        inputs = [float(line) for line in file]
    pool.map(noop, range(4 * slots), 1)
    seconds, _ = timed(lambda: pool.map(busy, inputs, 1))
    return {"seconds": seconds, "over": seconds * slots / sum(inputs)}


def measure_sleep(slots, count, ms):
    start = time.perf_counter()
    with multiprocessing.Pool(slots) as pool:
        pool.map(time.sleep, [ms / 1e3] * count, 1)
        cold = time.perf_counter() - start
        seconds, _ = timed(lambda: pool.map(time.sleep, [ms / 1e3] * count, 1))
    return {"cold": cold, "seconds": seconds, "share": count * ms / 1e3 / slots / seconds}


def main():
    slots, what = int(sys.argv[1]), sys.argv[2]
    if what == "sleep":
        figures = measure_sleep(slots, int(sys.argv[3]), int(sys.argv[4]))
    else:
        with multiprocessing.Pool(slots) as pool:
            if what in ("map", "echo"):
                figures = measure_map(pool, int(sys.argv[3]), int(sys.argv[4]))
            elif what == "apply":
                figures = measure_apply(pool, int(sys.argv[3]), int(sys.argv[4]))
            else:
                figures = measure_busy(pool, sys.argv[3], slots)
    for name, value in figures.items():
        print(name, value)


if __name__ == "__main__":
    main()
