"""What breaks, when, and for how long: all of it decided by a seed, before anything runs.

A fault is planned with the numbers that it may need; which of a worker's executors is meant
depends on which there are when the time has come.
"""

import dataclasses
import heapq
import os
import random
import re
import signal

KINDS = {  # and how often, of their sum
    "kill-worker": 14, "stop-worker": 10, "drain-worker": 6, "part-worker": 12, "cut-worker": 8,
    "slow-worker": 6, "kill-executor": 12, "stop-executor": 10, "kill-broker": 6, "stop-broker": 6,
    "part-client": 6, "cut-client": 6, "slow-client": 4, "stop-client": 4,
}
STORE_KINDS = {**KINDS, "kill-broker": 20, "kill-client": 10}  # with a store, which is to keep all
LONGEST = {"stop": 10, "part": 15, "slow": 10, "kill": 2}
SIDES = {"both": (True, True), "up": (True, False), "down": (False, True)}


@dataclasses.dataclass
class Fault:
    at: float
    kind: str
    worker: int
    seconds: float
    side: str     # of a partition: what does not pass
    late: bool    # what waited in a partition comes late; else the connection is cut
    delay: float  # of each piece on a slow link
    pick: float   # which executor: 0 is the first of them, 1 would be behind the last

    def __str__(self):
        verb, target = self.kind.split("-")
        text = f"{self.at:6.2f} s {self.kind}"
        if target in ("worker", "executor"):
            text += f" {self.worker}"
        if verb in LONGEST and self.kind != "kill-executor":
            text += f" for {self.seconds:.2f} s"
        if verb == "part":
            text += f" {self.side}, then {'late' if self.late else 'cut'}"
        if verb == "slow":
            text += f" by {1000 * self.delay:.0f} ms"
        if target == "executor":
            text += f" the {self.pick:.3f}th"
        return text


def plan(seed, seconds, workers, kinds=None, store=False):
    """Faults that come as often as one a second, at random times (Poisson)."""
    dice = random.Random(seed)
    shares = STORE_KINDS if store else KINDS
    weights = {kind: shares[kind] for kind in kinds or shares}
    faults, at = [], dice.expovariate(1)
    while at < seconds:
        kind = dice.choices(list(weights), list(weights.values()))[0]
        longest = LONGEST.get(kind.split("-")[0], 1)
        least = 0 if longest <= 2 else 1
        faults.append(Fault(at, kind, dice.randrange(workers), dice.uniform(least, longest),
                            dice.choice(list(SIDES)), dice.random() < 0.5,
                            dice.uniform(0.02, 0.3), dice.random()))
        at += dice.expovariate(1)
    return faults


LINE = re.compile(r"\s*([\d.]+) s (\S+?-(\S+))( \d+)?( for ([\d.]+) s)?( (both|up|down), then "
                  r"(late|cut))?( by (\d+) ms)?( the ([\d.]+)th)?\s*$")


def read_plan(path):
    """Lines as they are printed: of a round that failed, or made by hand."""
    faults = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            match = LINE.match(line)
            if not match or match[2] not in STORE_KINDS:
                raise ValueError(f"{path}: that is no fault: {line.strip()}")
            faults.append(Fault(float(match[1]), match[2], int(match[4] or 0),
                                float(match[6] or 0), match[8] or "both", match[9] == "late",
                                float(match[11] or 100) / 1000, float(match[13] or 0)))
    return sorted(faults, key=lambda fault: fault.at)


class Breaker:
    """Does what was planned to a grid, and undoes it when its time is over."""

    def __init__(self, grid, say):
        self.grid = grid
        self.say = say
        self.undo = []  # (when, number, function)
        self.planned = 0
        self.stopped = {}  # pid: until when
        self.draining = set()
        self.complaints = []
        self.losses = self.resets = 0

    def later(self, when, function):
        self.planned += 1
        heapq.heappush(self.undo, (when, self.planned, function))

    # ---- faults ----------------------------------------------------------------------------------

    def kill(self, process, fault):
        if process.alive():
            process.kill()
            self.draining.discard(process)
            self.later(fault.at + fault.seconds, process.start)

    def stop(self, pid, fault):
        until = max(self.stopped.get(pid, 0), fault.at + fault.seconds)
        self.stopped[pid] = until
        os.kill(pid, signal.SIGSTOP)
        self.later(fault.at + fault.seconds, lambda: self.proceed(pid, fault.at + fault.seconds))

    def proceed(self, pid, now):
        if self.stopped.get(pid, 0) <= now:
            self.stopped.pop(pid, None)
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass

    def partition(self, proxy, fault):
        proxy.partition(SIDES[fault.side])
        self.later(fault.at + fault.seconds, lambda: self.rejoin(proxy, fault))

    @staticmethod
    def rejoin(proxy, fault):
        if not fault.late:
            proxy.cut()
        proxy.rejoin(SIDES[fault.side])

    def slow(self, proxy, fault):
        proxy.delays.append(fault.delay)
        self.later(fault.at + fault.seconds, lambda: proxy.delays.remove(fault.delay))

    def strike(self, fault):
        """What its name says; the losses and resets of attempts that may come of it are counted."""
        verb, target = fault.kind.split("-")
        worker = self.grid.workers[fault.worker]
        self.say(str(fault))
        if target == "worker":
            self.losses += 1
            self.strike_party(verb, worker, self.grid.proxies[fault.worker], fault)
        elif target == "executor":
            self.losses += 1
            executors = self.grid.executors(worker)
            if executors:
                self.strike_executor(verb, executors[int(fault.pick * len(executors))], fault)
        elif target == "broker":
            self.resets += 1
            self.strike_party(verb, self.grid.broker, None, fault)
        else:
            self.resets += 1
            self.strike_party(verb, self.grid.client, self.grid.client_proxy, fault)

    def strike_party(self, verb, party, proxy, fault):
        if verb == "part":
            self.partition(proxy, fault)
        elif verb == "cut":
            proxy.cut()
        elif verb == "slow":
            self.slow(proxy, fault)
        elif not party.alive():
            return
        elif verb == "kill":
            self.kill(party, fault)
        elif verb == "stop":
            self.stop(party.pid, fault)
        elif verb == "drain" and party not in self.draining:  # a second signal means haste
            party.signal(signal.SIGTERM)
            self.draining.add(party)

    def strike_executor(self, verb, pid, fault):
        try:
            if verb == "kill":
                os.kill(pid, signal.SIGKILL)
            else:
                self.stop(pid, fault)
        except ProcessLookupError:
            pass

    # ---- time ------------------------------------------------------------------------------------

    def watch(self):
        """Daemons that were asked to end are started anew when they have; others must not end."""
        for daemon in self.grid.daemons():
            if daemon.process is None or daemon.alive():
                continue
            status = daemon.status()
            if daemon in self.draining:
                self.draining.discard(daemon)
                if status != 0:
                    self.complaints.append(f"{daemon.name} ended with {status} when drained")
                daemon.start()
            elif status != -signal.SIGKILL:
                self.complaints.append(f"{daemon.name} ended with {status}: see {daemon.log}")
                daemon.start()

    def advance(self, now):
        while self.undo and self.undo[0][0] <= now:
            heapq.heappop(self.undo)[2]()
        self.watch()

    def heal(self):
        """All at once."""
        self.undo.clear()
        self.stopped.clear()
        self.grid.heal()
