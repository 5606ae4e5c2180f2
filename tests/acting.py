"""The client and raw questions as another user: imported by root, then run with that user's rights alone.

Its own program, since a checkout may lie where other users cannot read: nothing is imported once root is gone.

    python tests/acting.py UID GID GROUPS relctl ARGUMENTS...
    python tests/acting.py UID GID GROUPS subscribe SOCKET      the topics that come, until stdin ends
"""

import os
import sys
from importlib import import_module

import zmq

from relctl import cli


def main(uid: int, gid: int, groups: list[int], words: list[str]) -> int:
    for module in {module for verb, module in cli.VERBS.items() if verb != "completion"}:
        import_module(f"relctl.verbs.{module}")
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if words[0] == "relctl":
        return cli.run(words[1:])
    return subscribe(words[1])


def subscribe(path: str) -> int:
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.subscribe(b"")
        socket.connect(f"ipc://{path}")
        while True:
            ready = dict(poll(socket))
            if sys.stdin.fileno() in ready:
                return 0
            print(socket.recv_multipart()[0].decode(), flush=True)


def poll(socket: "zmq.Socket[bytes]") -> list[tuple[object, int]]:
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    return list(poller.poll())


if __name__ == "__main__":
    uid, gid, groups, *words = sys.argv[1:]
    sys.exit(main(int(uid), int(gid), [int(group) for group in groups.split(",") if group], words))
