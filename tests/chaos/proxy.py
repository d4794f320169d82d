"""A link between one peer and the broker, which can be slow, cut, or deaf in either direction.

TCP loses no bytes in the middle of a stream, nor does this: during a partition they wait, and come
late when it heals, as retransmitted ones do; or the connection is cut before that.
"""

import contextlib
import socket
import struct
import threading
import time

CHUNK = 1 << 16
UP, DOWN = 0, 1  # towards the broker, and back


class Proxy:
    def __init__(self, port):
        self.broker = ("127.0.0.1", port)
        self.delays = []
        self.holds = [0, 0]  # partitions that overlap end when the last one does
        self.gates = [threading.Event(), threading.Event()]
        self.lock = threading.Lock()
        self.pairs = set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.endpoint = "tcp://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.heal()
        threading.Thread(target=self.accept, daemon=True).start()

    def partition(self, sides):
        self.hold(sides, 1)

    def rejoin(self, sides):
        self.hold(sides, -1)

    def hold(self, sides, by):
        for direction in (UP, DOWN):
            self.holds[direction] += by * sides[direction]
            if self.holds[direction] > 0:
                self.gates[direction].clear()
            else:
                self.gates[direction].set()

    def heal(self):
        self.delays = []
        self.holds = [0, 0]
        self.hold((0, 0), 0)

    def cut(self):
        """All connections, with a reset, as if a box on the way had forgotten them."""
        with self.lock:
            pairs, self.pairs = self.pairs, set()
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def close(self):
        self.heal()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()

    def accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.connect, args=(peer,), daemon=True).start()

    def connect(self, peer):
        self.gates[UP].wait()
        self.gates[DOWN].wait()
        try:
            broker = socket.create_connection(self.broker, timeout=10)
        except OSError:
            peer.close()
            return
        broker.settimeout(None)
        for end in (peer, broker):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = (peer, broker)
        with self.lock:
            self.pairs.add(pair)
        threading.Thread(target=self.pump, args=(pair, peer, broker, UP), daemon=True).start()
        self.pump(pair, broker, peer, DOWN)

    def pump(self, pair, source, sink, direction):
        with contextlib.suppress(OSError, ValueError):
            while data := source.recv(CHUNK):
                time.sleep(max(self.delays, default=0))
                self.gates[direction].wait()
                sink.sendall(data)
        # One direction that is over is the end of both.
        self.gates[direction].wait()
        with self.lock:
            self.pairs.discard(pair)
        for end in pair:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
