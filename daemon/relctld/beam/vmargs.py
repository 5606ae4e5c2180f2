"""What can be known of a node from its flags without running anything: its name, and whether it needs epmd.

Rule 1: a guess is worse than "not known"; what only a shell could tell is None.
Rule 2: text in, values out; the one file access is `read_flags`, which follows -args_file.

Flags are those of erl(1): vm.args, then ERL_AFLAGS, ERL_FLAGS and ERL_ZFLAGS from the environment.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from relctld.beam.layout import read_text

MAX_NESTING = 8  # of -args_file
MAX_EXPANSIONS = 100


@dataclass(frozen=True, slots=True)
class Distribution:
    """The node's full name, None where it cannot be known; and whether an epmd must run for others to find it."""

    node: str | None
    epmd_needed: bool


def read_flags(path: Path, env: Mapping[str, str], depth: int = MAX_NESTING) -> list[str]:
    """The flags in a vm.args file, variables expanded, with those of the files it names by -args_file."""
    flags = split_flags(read_text(path) or "", env)
    for flag, value in itertools.pairwise(flags):
        if flag == "-args_file" and depth:
            flags = flags + read_flags(path.parent / value, env, depth - 1)
    return flags


def split_flags(text: str, env: Mapping[str, str]) -> list[str]:
    """Words of a vm.args, as erlexec reads it: quotes and comments; then `expand`."""
    words: list[str] = []
    for line in text.splitlines():
        bare = re.sub(r"(^|\s)#.*", "", line)
        try:
            words += shlex.split(bare)
        except ValueError:  # an open quote: erlexec has its own idea of it
            words += bare.split()
    return [expand(word, env) for word in words]


def env_flags(env: Mapping[str, str]) -> list[str]:
    """The flags that erlexec takes from the environment."""
    return [word for name in ("ERL_AFLAGS", "ERL_FLAGS", "ERL_ZFLAGS") for word in split_flags(env.get(name, ""), {})]


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replaces $A, ${A} and ${A:-default}, nested too; what else begins with $ stays."""
    for _ in range(MAX_EXPANSIONS):
        match = re.search(r"\$\{(\w+)(?::-([^${}]*))?\}|\$([A-Za-z_]\w*)", text)  # the innermost first
        if not match:
            break
        value = env.get(match[1] or match[3]) or match[2] or ""
        text = text[: match.start()] + value + text[match.end() :]
    return text


def distribution(flags: Sequence[str]) -> Distribution:
    """The node that these flags start: -name or -sname, and the flags that do without epmd."""
    pairs = list(itertools.pairwise([*flags, ""]))
    names = [(value, flag == "-sname") for flag, value in pairs if flag in ("-name", "-sname")]
    if not names:
        return Distribution(None, epmd_needed=False)
    without = {("-dist_listen", "false"), ("-start_epmd", "false")} & set(pairs)
    without_epmd = bool(without) or "-epmd_module" in flags or "-no_epmd" in flags
    return Distribution(full_name(*names[0]), epmd_needed=not without_epmd)


def full_name(name: str, short: bool) -> str | None:
    """NAME@HOST as the VM will make it; None for what only the VM knows (a domain, a dynamic name)."""
    if not re.fullmatch(r"[^\s@$`]+(@[^\s@$`]+)?", name) or name.partition("@")[0] == "undefined":
        return None
    if "@" in name:
        return name
    return f"{name}@{os.uname().nodename.split('.')[0]}" if short else None


def assignment(script: str, variable: str, env: Mapping[str, str], default: str) -> str | None:
    """What a sourced shell script leaves in `variable`, which was set to env's or will be to `default`.

    None where that takes a shell: the line is conditional, computed, or one of several.
    """
    bare = [line for line in script.splitlines() if not line.lstrip().startswith("#")]
    lines = [line for line in bare if re.search(rf"\b{variable}=", line)]
    if not lines:
        return env.get(variable) or default
    match = re.fullmatch(rf"(?:export\s+)?{variable}=(.*)", lines[0].rstrip())
    if len(lines) > 1 or match is None:
        return None
    try:
        words = shlex.split(expand(match[1], env), comments=True)
    except ValueError:
        return None
    return words[0] if len(words) == 1 and not re.search(r"[$`;&|]", words[0]) else None
