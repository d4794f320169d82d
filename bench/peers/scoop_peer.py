#!/usr/bin/env python3
"""SCOOP, the peer for nested tasks: python3 -m scoop -n 2 scoop_peer.py DEPTH FAN

A tree in which each inner task maps over FAN children. Prints tasks and rate.
"""

import sys
import time

from scoop import futures


def grow(node):
    depth, fan = node
    if depth == 0:
        return 1
    return 1 + sum(futures.map(grow, [(depth - 1, fan)] * fan))


def main():
    depth, fan = int(sys.argv[1]), int(sys.argv[2])
    start = time.perf_counter()
    tasks = futures.submit(grow, (depth, fan)).result()
    print("tasks", tasks)
    print("rate", tasks / (time.perf_counter() - start))


if __name__ == "__main__":
    main()
