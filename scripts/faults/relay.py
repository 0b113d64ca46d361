"""A bad line before a server of this machine: slow, silent, cut, or bending bits."""

import random
import socket
import threading
import time

PIECE = 16 << 10


class Relay:
    """Relays connections to a port. `mode` may be changed at any time, and holds for open connections too.

    good; slow (`rate` bytes a second for each connection); silent (nothing comes, and stays open); cut (each connection ends after a
    random number of bytes); bend (a wrong bit now and then, in what comes from the server, behind its first bytes).
    """

    def __init__(self, target):
        self.target, self.mode, self.rate = target, "good", 4 << 20
        self.chance, self.struck, self.open = random.Random(5), 0, set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            server = socket.create_connection(("127.0.0.1", self.target), 5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        self.open |= {client, server}
        threading.Thread(target=self._carry, args=(client, server, False), daemon=True).start()
        self._carry(server, client, True)

    def _carry(self, source, sink, down):
        left = self.chance.randrange(1, 3 << 20)
        carried = 0
        try:
            while piece := source.recv(PIECE):
                while self.mode == "silent":
                    time.sleep(0.05)
                if down and self.mode == "slow":
                    time.sleep(len(piece) / self.rate)
                if down and self.mode == "cut" and carried > left:
                    self.struck += 1
                    break
                if down and self.mode == "bend" and carried > PIECE and self.chance.random() < 0.02:
                    self.struck += 1
                    bent = bytearray(piece)
                    bent[self.chance.randrange(len(bent))] ^= 1
                    piece = bytes(bent)
                carried += len(piece)
                sink.sendall(piece)
        except OSError:
            pass
        for end in source, sink:
            self.open.discard(end)
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def close(self):
        self.mode = "good"
        self.listener.close()
        for end in list(self.open):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
