"""A program that stands in for a remote shell: a line typed is an order, an answer is a line that begins with `=`.

    see              what it knows of its terminal and of itself, as JSON
    flood MIB        so much output, then `= flooded`
    endless          output without end
    swallow BYTES    read so many bytes as they are, then their SHA-256
    leave            start a `sleep` in its session and another in one of its own
    stubborn         ignore SIGHUP
    sleep            take nothing for a while, nor say anything
    exit CODE        end; die NAME: by this signal

A changed size is told as `= size ROWS COLUMNS`, a Ctrl-C as `= interrupted`. It runs with `python -IS`.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import termios
import time
import tty


def main() -> None:
    signal.signal(signal.SIGWINCH, lambda *_: say("size", *os.get_terminal_size(0)[::-1]))
    signal.signal(signal.SIGINT, lambda *_: say("interrupted"))
    say("ready")
    for line in iter(sys.stdin.readline, ""):
        order, *words = line.split() or [""]
        if order in ORDERS:
            ORDERS[order](*words)


def say(*words: object) -> None:
    os.write(1, ("= " + " ".join(map(str, words)) + "\n").encode())


def see() -> None:
    controlling = os.open("/dev/tty", os.O_RDWR)
    say(
        json.dumps({
            "tty": [os.isatty(fd) for fd in (0, 1, 2)],
            "size": os.get_terminal_size(0)[::-1],
            "foreground": os.tcgetpgrp(controlling) == os.getpgrp() == os.getsid(0) == os.getpid(),
            "pid": os.getpid(),
            "ids": [os.getuid(), os.getgid(), os.getgroups()],
            "owner": os.fstat(0).st_uid,
            "mode": os.fstat(0).st_mode & 0o777,
            "cwd": os.getcwd(),
            "umask": os.umask(0o027),
            "fds": len(os.listdir("/proc/self/fd")) - 1,
            "env": dict(os.environ),
        })
    )  # fmt: skip


def flood(mib: str) -> None:
    block = b"x" * 127 + b"\n"
    for _ in range(int(mib)):
        data = memoryview(block * 8192)
        while data:
            data = data[os.write(1, data) :]
    say("flooded")


def endless() -> None:
    while True:
        os.write(1, b"y" * 79 + b"\n")


def swallow(count: str) -> None:
    before = termios.tcgetattr(0)
    tty.setraw(0)
    say("swallowing")
    digest, left = hashlib.sha256(), int(count)
    while left:
        data = os.read(0, min(left, 65536))
        digest.update(data)
        left -= len(data)
    termios.tcsetattr(0, termios.TCSANOW, before)
    say(digest.hexdigest())


def leave() -> None:
    for new_session in (False, True):
        subprocess.Popen(["sleep", "1000"], start_new_session=new_session)
    say("left")


def stubborn() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    say("stubborn")


def sleep() -> None:
    say("asleep")
    time.sleep(1000)


def die(name: str) -> None:
    signal.signal(signal.Signals[name], signal.SIG_DFL)
    os.kill(os.getpid(), signal.Signals[name])


ORDERS = {
    "see": see,
    "flood": flood,
    "endless": endless,
    "swallow": swallow,
    "leave": leave,
    "stubborn": stubborn,
    "sleep": sleep,
    "exit": lambda code: os._exit(int(code)),
    "die": die,
}

main()
