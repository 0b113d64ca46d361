#!/usr/bin/env python3
"""A slow line before a server on this machine: relays connections with a delay and a speed limit.

  slow.py PORT SERVER_PORT RESULT [DELAY_MS MBIT]    10 ms each way, 100 Mbit/s

All connections share the line, as they would a real one. Opening a connection costs a round trip. Ends at SIGTERM, and
writes `down`, `connections` and `requests` into RESULT, a `name value` line each.
"""

import asyncio
import signal
import sys

PIECE = 16 << 10
# Pieces under way in each direction: more than such a line holds, and bounded.
UNDER_WAY = 64


class Line:
    def __init__(self, delay, rate):
        self.delay = delay
        self.rate = rate
        self.free = 0.0

    def arrival(self, now, size):
        """Says when a piece that is sent now has arrived."""
        self.free = max(self.free, now) + size / self.rate
        return self.free + self.delay


class Relay:
    def __init__(self, server_port, delay, rate):
        self.server_port = server_port
        self.delay = delay
        self.up = Line(delay, rate)
        self.down = Line(delay, rate)
        self.counted = {"down": 0, "connections": 0, "requests": 0}

    async def serve(self, client_reader, client_writer):
        self.counted["connections"] += 1
        await asyncio.sleep(2 * self.delay)  # the handshake that loopback does not take
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        await asyncio.gather(
            self.carry(client_reader, writer, self.up, self.count_request),
            self.carry(reader, client_writer, self.down, self.count_answer),
        )

    def count_request(self, piece):
        self.counted["requests"] += piece.count(b" HTTP/1.1\r\n")

    def count_answer(self, piece):
        self.counted["down"] += len(piece)

    async def carry(self, reader, writer, line, count):
        loop = asyncio.get_running_loop()
        under_way = asyncio.Queue(UNDER_WAY)

        async def deliver():
            while item := await under_way.get():
                piece, at = item
                await asyncio.sleep(max(0, at - loop.time()))
                count(piece)
                writer.write(piece)
                await writer.drain()

        delivering = asyncio.create_task(deliver())
        try:
            while piece := await reader.read(PIECE):
                await under_way.put((piece, line.arrival(loop.time(), len(piece))))
            await under_way.put(None)
            await delivering
        except (ConnectionError, asyncio.IncompleteReadError):
            delivering.cancel()
        finally:
            writer.close()


async def main():
    port, server_port, result = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    delay = float(sys.argv[4]) / 1000 if len(sys.argv) > 4 else 0.010
    rate = (float(sys.argv[5]) if len(sys.argv) > 5 else 100) * 1e6 / 8
    relay = Relay(server_port, delay, rate)
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with await asyncio.start_server(relay.serve, "127.0.0.1", port):
        await over.wait()
    with open(result, "w", encoding="ascii") as file:
        for name, value in relay.counted.items():
            file.write(f"{name} {value}\n")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (IndexError, ValueError):
        sys.exit(__doc__)
