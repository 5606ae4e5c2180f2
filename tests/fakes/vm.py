"""A program that stands in for a VM. Its arguments say what it does, one after the other; then it lives on.

    say TEXT          a line on stdout
    flood N           N numbered lines of 100 bytes
    touch FILE        make a file; wait FILE: until there is one
    unless FILE       skip the next order where there is a file; once FILE: and make it, else
    ignore            SIGTERM does nothing
    slow SECONDS      SIGTERM ends it after so long, with 0
    until FILE        SIGTERM ends it once the file is there, with 0
    exit CODE         end; die NAME: by this signal
    dump SLOGAN       write a crash dump where ERL_CRASH_DUMP says
    child KIND        a stubborn descendant: plain, setsid, double (forked twice, setsid), bare (double, no environment)
    facts FILE        write what it sees of itself, as JSON
    alone FILE        take the lock on FILE; where another copy has it, say so in FILE.twice
    tcp PORT          accept connections; http PORT FILE: answer GET, 200 while the file is there, else 503

It runs with `python -IS`: standard library only.
"""

import fcntl
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import NoReturn


def main(words: Iterator[str]) -> None:
    for order in words:
        ORDERS[order](words)
    while True:
        signal.pause()


def say(words: Iterator[str]) -> None:
    os.write(1, next(words).encode() + b"\n")


def flood(words: Iterator[str]) -> None:
    lines = [b"%09d " % number + b"x" * 89 + b"\n" for number in range(int(next(words)))]
    for first in range(0, len(lines), 40):
        os.write(1, b"".join(lines[first : first + 40]))


def touch(words: Iterator[str]) -> None:
    with open(next(words), "w"):
        pass


def await_file(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.01)


def wait(words: Iterator[str]) -> None:
    await_file(next(words))


def unless(words: Iterator[str]) -> None:
    if os.path.exists(next(words)):
        skip(words)


def skip(words: Iterator[str]) -> None:
    for _ in range(ARGUMENTS.get(next(words), 1)):
        next(words)


def once(words: Iterator[str]) -> None:
    path = next(words)
    if os.path.exists(path):
        skip(words)
    else:
        touch(iter((path,)))


def ignore(_: Iterator[str]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def slow(words: Iterator[str]) -> None:
    seconds = float(next(words))

    def stop(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(seconds)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)


def until(words: Iterator[str]) -> None:
    path = next(words)

    def stop(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        await_file(path)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)


def leave(words: Iterator[str]) -> NoReturn:
    os._exit(int(next(words)))


def die(words: Iterator[str]) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    number = signal.Signals[next(words)]
    os.kill(os.getpid(), number)


def dump(words: Iterator[str]) -> None:
    with open(os.environ["ERL_CRASH_DUMP"], "w") as file:
        file.write("=erl_crash_dump:0.5\nSun Nov 22 00:56:45 2026\n")
        file.write(f"Slogan: {next(words)}\nSystem version: Erlang/OTP 25 [erts-13.1.5] [source] [64-bit]\n")


def child(words: Iterator[str]) -> None:
    """Returns once the descendant ignores SIGTERM."""
    kind = next(words)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        if kind != "plain":
            os.setsid()
        if kind in ("double", "bare") and os.fork() > 0:
            os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(write, b".")
        argv = [sys.executable, "-ISc", "import signal\nwhile True: signal.pause()", "descendant"]
        os.execve(argv[0], argv, {} if kind == "bare" else os.environ)
    os.read(read, 1)
    if kind in ("double", "bare"):
        os.waitpid(pid, 0)


def facts(words: Iterator[str]) -> None:
    path = next(words)
    umask = os.umask(0)
    os.umask(umask)
    seen = {
        "environ": dict(os.environ),
        "cwd": os.getcwd(),
        "umask": umask,
        "groups": os.getgroups(),
        "session": os.getsid(0) == os.getpid(),
        "fds": {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if is_open(int(fd))},
        "status": dict(line.split(":\t", 1) for line in proc("status").splitlines() if ":\t" in line),
        "limits": proc("limits"),
        "oom_score_adj": int(proc("oom_score_adj")),
    }
    with open(f"{path}.new", "w") as file:
        json.dump(seen, file)
    os.rename(f"{path}.new", path)


def proc(name: str) -> str:
    with open(f"/proc/self/{name}") as file:
        return file.read()


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def alone(words: Iterator[str]) -> None:
    path = next(words)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with open(f"{path}.twice", "a") as file:
            file.write(f"{os.getpid()} {os.environ.get('RELCTL_EPOCH')}\n")


def tcp(words: Iterator[str]) -> None:
    listener = socket.create_server(("127.0.0.1", int(next(words))))
    while True:
        listener.accept()[0].close()


def http(words: Iterator[str]) -> None:
    listener, well = socket.create_server(("127.0.0.1", int(next(words)))), next(words)
    while True:
        connection = listener.accept()[0]
        connection.recv(4096)
        line = b"200 OK" if os.path.exists(well) else b"503 Service Unavailable"
        connection.sendall(b"HTTP/1.1 " + line + b"\r\nContent-Length: 0\r\n\r\n")
        connection.close()


ARGUMENTS = {"ignore": 0, "http": 2}
ORDERS: dict[str, Callable[[Iterator[str]], object]] = {
    "say": say, "flood": flood, "touch": touch, "wait": wait, "unless": unless, "once": once, "ignore": ignore,
    "slow": slow, "until": until, "exit": leave, "die": die, "dump": dump, "child": child, "facts": facts,
    "alone": alone, "tcp": tcp, "http": http,
}  # fmt: skip

if __name__ == "__main__":
    main(iter(sys.argv[1:]))
