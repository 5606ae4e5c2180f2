"""The configuration that a version would boot with, evaluated by that version's own code, in a throw-away process.

release_handler reads releases/VSN/sys.config and nothing else: what relx renders at a boot from sys.config.src, and
what Elixir's providers (runtime.exs) compute, it would take away from a running node. So a boot's work is done before.

flavour   where                                   by
relx      releases/VSN/sys.config.src             bin/NAME-VSN, which renders it into RELX_OUT_FILE_PATH before it does
                                                  anything else, and is asked for nothing else
mix       the providers named in sys.config       bin/NAME eval, with RELEASE_VSN=VSN
"""

import asyncio
import os
import re
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from relctld.beam.heart import overruled
from relctld.beam.layout import ReleaseError, is_file, open_regular, read_text
from relctld.beam.term.consult import ConsultError, consult_file_bytes
from relctld.core.spec import Flavour
from relctld.host import folders
from relctld.host.command import Commands, Outcome
from relctld.host.fsuser import as_user
from relctld.host.gate import Identity

WITHIN = 60.0
LARGEST = 16 << 20
_LONGEST = 300

_RAISED = re.compile(r"\*\* \(([\w.]*)")  # also (EXIT from #PID<0.98.0>), whose reason may be any term
_TELLING = frozenset({
    "RuntimeError", "System.EnvError", "File.Error", "Code.LoadError", "CompileError", "SyntaxError",
    "TokenMissingError", "MismatchedDelimiterError", "UndefinedFunctionError",
})  # fmt: skip
"""Exceptions whose messages are written for operators, or quote code: the others may quote a value, a secret too."""

_PROVIDERS = "config_provider_init"
_IN, _OUT = "RELCTL_CONFIG_IN", "RELCTL_CONFIG_OUT"
_RENDER = "relctl-renders-the-configuration"  # a command that no start script knows: it renders, and says so
_ELIXIR = f"""
{{:ok, [config]}} = :file.consult(System.fetch_env!("{_IN}"))
init = config[:elixir][:config_provider_init]
config = Config.Reader.merge(config, Map.get(init, :extra_config, []))
config = Enum.reduce(init.providers, config, fn {{module, state}}, acc -> module.load(acc, state) end)
path = System.fetch_env!("{_OUT}")
File.write!(path, :io_lib.format("%% coding: utf-8~n~tp.~n", [config]), [:utf8])
unless match?({{:ok, [^config]}}, :file.consult(path)) do
  bad = for {{app, pairs}} <- config, {{key, value}} <- pairs,
    not match?({{:ok, _}}, with({{:ok, tokens, _}} <- :erl_scan.string(:lists.flatten(:io_lib.format("~tp.", [value]))),
      do: :erl_parse.parse_term(tokens))), do: "#{{app}}: #{{inspect(key)}}"
  IO.puts("values that no file can hold (functions, processes): #{{Enum.join(bad, ", ")}}")
  System.halt(1)
end
"""


class ConfiguringError(Exception):
    """The configuration of a version cannot be evaluated; the text says why."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version in a tree, and how its commands are run."""

    root: Path
    flavour: Flavour
    name: str
    version: str
    env: Mapping[str, str]
    identity: Identity
    switch: Identity | None
    cwd: Path

    @property
    def place(self) -> Path:
        """What release_handler reads."""
        return self.root / "releases" / self.version / "sys.config"

    @property
    def source(self) -> Path:
        """What a boot reads, where its environment names no other file."""
        match self.flavour:
            case Flavour.RELX if said := self.env.get("RELX_CONFIG_PATH"):
                return Path(said)
            case Flavour.MIX if said := self.env.get("RELEASE_SYS_CONFIG"):
                return Path(f"{said}.config")
        return self.place


def is_evaluated(version: Version) -> bool:
    """Whether a boot of it has another configuration than release_handler would read. Raises ReleaseError."""
    return version.source != version.place or is_computed(version)


async def evaluate(version: Version, folder: Path, home: Path, commands: Commands, pool: Executor) -> bytes:
    """The configuration as a file that release_handler can read. Raises ConfiguringError.

    `folder` is the release's user's own, `home` the release's in the run directory.
    """
    loop = asyncio.get_running_loop()
    try:
        source = version.source
        if await loop.run_in_executor(pool, is_computed, version):
            await loop.run_in_executor(pool, _make_room, folder, version.identity)
            argv, env = _command(version, folder)
            outcome = await commands.run(
                argv, env=env, cwd=version.cwd, folder=home, identity=version.switch, timeout=WITHIN, umask=0o077
            )
            if outcome.late or (version.flavour is Flavour.MIX and outcome.status.code != 0):
                raise ConfiguringError(f"its configuration cannot be evaluated: {_why(outcome)}")
            source = folder / "sys.config"
        data = await loop.run_in_executor(pool, read, source, version.identity)
    except FileNotFoundError as error:
        raise ConfiguringError(f"its configuration cannot be evaluated: {error.filename} is missing") from error
    except OSError as error:
        why = f"{error.filename}: {error.strerror}"
        raise ConfiguringError(f"its configuration cannot be evaluated: {why}") from error
    except ReleaseError as error:
        raise ConfiguringError(f"its configuration cannot be evaluated: {error}") from error
    _check(data)
    return data


def _make_room(folder: Path, identity: Identity) -> None:
    """What an earlier evaluation has left there must not pass for the result of this one; its user removes it."""
    folders.own(folder, identity, 0o700)
    with as_user(identity.uid, identity.gid, identity.groups):
        (folder / "sys.config").unlink(missing_ok=True)


def _why(outcome: Outcome) -> str:
    """What Elixir says of an exception, or its name; else the last that was said."""
    said = [line.strip() for line in outcome.tail.splitlines() if line.strip() and "rash dump" not in line]
    raised = [line for line in said if "** (" in line]
    if raised and (found := _RAISED.search(raised[0])) and found[1] not in _TELLING:
        return f"** ({found[1]}), whose message is not shown: it may quote values"
    return (raised or [outcome.error(WITHIN) or ""])[0][:_LONGEST]


def is_computed(version: Version) -> bool:
    """Whether it takes the version's own code to know it. Raises ReleaseError."""
    match version.flavour:
        case Flavour.RELX:
            return is_file(version.source.with_name(f"{version.source.name}.src"))
        case Flavour.MIX:
            return _PROVIDERS in (read_text(version.source, LARGEST) or "")
    return False


def _command(version: Version, folder: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    if version.flavour is Flavour.RELX:
        script = version.root / "bin" / f"{version.name}-{version.version}"
        return (str(script), _RENDER), {**overruled(version.env), "RELX_OUT_FILE_PATH": str(folder)}
    env = {
        **overruled(version.env),
        "ERL_CRASH_DUMP_SECONDS": "0",  # it would lie in the tree
        "RELEASE_VSN": version.version,
        "RELEASE_TMP": str(folder),
        "RELEASE_MODE": "interactive",  # a boot would load all code first
        _IN: str(version.source),
        _OUT: str(folder / "sys.config"),
    }
    return (str(version.root / "bin" / version.name), "eval", _ELIXIR), env


def read(path: Path, identity: Identity) -> bytes:
    """A configuration, with the eyes of the release's user, for it lies where that one writes. Raises OSError."""
    with as_user(identity.uid, identity.gid, identity.groups):
        fd = open_regular(path, os.O_NOFOLLOW)
    with open(fd, "rb") as file:
        return file.read(LARGEST)


def _check(data: bytes) -> None:
    try:
        terms = consult_file_bytes(data)
    except ConsultError as error:
        raise ConfiguringError(f"its configuration is no Erlang term: {error}") from error
    if len(terms) != 1 or not isinstance(terms[0], list):
        raise ConfiguringError("its configuration is no list of applications and their values")
