"""The arguments that a VM really got: its command line, as erlexec wrote it out of vm.args, files and variables.

Blocks a little on /proc: call `living` from a worker thread.
"""

from collections.abc import Sequence

MAX_PROC = 1 << 21  # bytes of a command line or an environment, Linux's usual limit for both


def living(pid: int) -> tuple[list[str], dict[str, str]]:
    """The arguments and the environment of a running VM; what is not ours to see is empty."""
    pairs = (word.partition("=") for word in _proc(pid, "environ"))
    return _proc(pid, "cmdline"), {key: value for key, _, value in pairs}


def values_of(flags: Sequence[str], flag: str) -> list[list[str]]:
    """The words after each occurrence of `flag`, as init:get_argument/1 has them."""
    found: list[list[str]] = []
    current: list[str] = []  # where words go that belong to no such flag
    for word in flags:
        if word == "-extra":
            break
        if word[:1] in ("-", "+"):
            current = []
            if word == flag:
                found.append(current)
        else:
            current.append(word)
    return found


def _proc(pid: int, name: str) -> list[str]:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            words = file.read(MAX_PROC).removesuffix(b"\0").split(b"\0")
    except OSError:
        return []
    return [word.decode(errors="surrogateescape") for word in words]
