"""No VM at all, but it has a VM's arguments, and behind the port where it listens answers another's node.

python relay.py PORT -root … -name … -setcookie …
"""

import socket
import sys
import threading


def command(port: int, name: str, cookie: str) -> list[str]:
    """The command line of a relay to the node at this port."""
    return [sys.executable, __file__, str(port), "-root", "/nowhere", "-name", name, "-setcookie", cookie]


def serve(port: int) -> None:
    """For each that connects, a connection to the node."""
    door = socket.create_server(("127.0.0.1", 0))
    while True:
        outer, _ = door.accept()
        inner = socket.create_connection(("127.0.0.1", port))
        for pair in ((outer, inner), (inner, outer)):
            threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:  # one of them is gone
        sink.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
