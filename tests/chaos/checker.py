"""Was everything right? From the client's history and the notes of the tasks alone.

The values are computed here anew, from what orders.h says of them.
"""

import collections
import dataclasses

MASK = (1 << 64) - 1
(COMPUTE, SLEEP, PRINT, EMIT, SHARED, BIG, FAIL, CRASH_FIRST, NEST, POISON, ONCE) = range(11)
NESTED_IDS = 1 << 32
POISON_RETRIES = 2
LOSSES_MAX = 10
CONSTANT_WORDS = 1 << 16
DEATHS = ("killed by signal 11", "exited with status 3", "killed by signal 6")
KILLED = "killed by signal 9"  # by the driver


def mix(x):
    x = (x + 0x9e3779b97f4a7c15) & MASK
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9 & MASK
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb & MASK
    return x ^ (x >> 31)


def constant_sum():
    total = 0
    for i in range(CONSTANT_WORDS):
        total = mix(total ^ mix(i))
    return total


@dataclasses.dataclass
class Order:
    id: int
    kind: int
    amount: int
    value: int
    way: str = ""

    def children(self):
        for nth in range(self.amount):
            random = mix((self.value + nth) & MASK)
            child = Order(NESTED_IDS + self.id * 64 + nth, COMPUTE, 0, mix(random))
            if self.id < NESTED_IDS and random % 16 == 0:
                child.kind, child.amount = NEST, 2
            elif random % 4 == 1:
                child.kind = SLEEP
            yield child


class Checker:
    def __init__(self, seed, tasks, detached=False):
        self.detached = detached  # results may be read again, by the next client
        self.seed = seed
        self.tasks = tasks
        self.constant = constant_sum()
        self.orders = {}
        self.ends = collections.defaultdict(list)  # id: (how, words)
        self.sums = collections.defaultdict(set)   # (name, first): counts
        self.runs = collections.Counter()
        self.complaints = []

    def complain(self, text):
        self.complaints.append(text)

    def value(self, order):
        value = mix(order.value ^ order.id)
        if order.kind == NEST:
            value ^= sum(self.value(child) for child in order.children()) & MASK
        return value ^ self.constant if order.kind == SHARED else value

    def sum(self, first, count):
        """Of the orders of a reduction, none of which is of a special kind."""
        total = 0
        for task in range(first, first + count):
            value = mix((mix(mix(self.seed) ^ task) + 1) & MASK)
            total += mix(value ^ task)
        return total & MASK

    # ---- reading ---------------------------------------------------------------------------------

    def read_history(self, path):
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                words = line.rstrip("\n").split(" ", 5)[1:]  # without the time of day
                if words[0] == "invoke":
                    order = Order(*(int(word) for word in words[1:4]), *self.rest(words[4]))
                    self.orders[order.id] = order
                elif words[0] in ("ok", "fail", "unknown"):
                    self.ends[int(words[1])].append(words)
                elif words[0] == "sum":
                    name, first, (count, value) = words[1], int(words[2]), words[3:]
                    self.check_sum(name, first, int(count), int(value))
                else:
                    self.complain(line.strip())

    @staticmethod
    def distinct(ends):
        """A result is the same however often it is read; attempts and workers may be told too."""
        return list({(end[0], end[2]): end for end in ends}.values())

    @staticmethod
    def rest(text):
        value, way = text.split(" ")
        return int(value), way

    def read_notes(self, path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                self.runs[int(line.split()[2])] += 1

    # ---- judging ---------------------------------------------------------------------------------

    def check_sum(self, name, first, count, value):
        if value != self.sum(first, count):
            self.complain(f"{name} from {first}: the sum of {count} is wrong")
        if count in self.sums[name, first]:
            self.complain(f"{name} from {first}: the sum of {count} came twice")
        self.sums[name, first].add(count)

    def count_reduced(self):
        total = 0
        for (name, first), counts in self.sums.items():
            total += max(counts)
            if name == "scan" and len(counts) != max(counts):
                self.complain(f"scan from {first}: {len(counts)} sums of {max(counts)}")
        return total

    def check_end(self, order, end):
        who = f"task {order.id} ({order.way}, kind {order.kind})"
        if end[0] == "unknown":
            if not self.detached:
                self.complain(f"{who}: given up: {' '.join(end[2:])}")
        elif end[0] == "ok":
            if order.kind in (FAIL, POISON):
                self.complain(f"{who}: cannot end well, but did")
            elif order.kind != BIG and int(end[2]) != self.value(order):
                self.complain(f"{who}: the value is wrong")
        elif not self.may_fail(order, end[2], " ".join(end[3:])):
            self.complain(f"{who}: ended as {' '.join(end[2:])}")

    def may_fail(self, order, status, words):
        if order.way == "cancel" and order.value % 2 == 1 and status == "CANCELLED":
            return True
        if order.kind == FAIL:
            return status == "FAILED" and f": task {order.id} was told to fail" in words
        if order.kind == POISON:
            return status == "CRASHED" and (DEATHS[order.value % 3] in words or KILLED in words)
        if order.kind == ONCE:
            return status in ("LOST", "CRASHED")
        # The broker gives up what it takes for the death of so many workers.
        return status == "LOST" and self.runs[order.id] >= LOSSES_MAX

    def check_runs(self, resets, losses):
        for task, runs in self.runs.items():
            order = self.orders.get(task)
            if order is None:
                continue
            if order.kind == ONCE and runs > 1:
                self.complain(f"task {task}: may run once only, and ran {runs} times")
            if order.kind == POISON and runs > (1 + POISON_RETRIES) * (1 + resets) + losses:
                self.complain(f"task {task}: kills its executor, and was let do so {runs} times")
        for task, ends in self.ends.items():
            if ends and ends[0][0] == "ok" and self.runs[task] == 0:
                self.complain(f"task {task}: has a result, and never ran")

    def check(self, resets, losses):
        """`resets`: how often attempts may have begun anew; `losses`: were taken without blame."""
        for task, order in self.orders.items():
            ends = self.ends[task]
            if self.detached:
                ends = self.distinct(ends)
            if len(ends) != 1:
                self.complain(f"task {task} ({order.way}): {len(ends)} outcomes")
            if ends:
                self.check_end(order, ends[0])
        for task in self.ends.keys() - self.orders.keys():
            self.complain(f"task {task}: an outcome of what was not submitted")
        seen = len(self.orders) + self.count_reduced()
        if seen != self.tasks:
            self.complain(f"{seen} tasks of {self.tasks}")
        self.check_runs(resets, losses)
        return self.complaints

    def repeated(self):
        """How many tasks began more than once."""
        return sum(1 for runs in self.runs.values() if runs > 1)
