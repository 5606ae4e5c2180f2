"""How each flavour is launched, so that the process we start *becomes* the VM (one pid through every exec).

Rule 1: nothing is run; all is read from the tree and from the environment that the release will get.
Rule 2: a script that does the launching keeps its say: we set no variable that it would choose itself,
        but those without which it cannot start as a plain user.

flavour      command                       version by                        written at each start
relx         bin/NAME foreground           REL_VSN inside bin/NAME           *.src, rendered beside themselves or
                                                                             into RELX_OUT_FILE_PATH
mix          bin/NAME start                RELEASE_VSN, start_erl.data       RELEASE_TMP/….runtime.config where
                                                                             sys.config says RUNTIME_CONFIG=true
distillery   bin/NAME foreground           REL_VSN, var/start_erl.data       var/
plain        erts-V/bin/erlexec -boot …    releases/start_erl.data           nothing

A version that no file selects (`Tree.version`) is started by bin/NAME-VSN, RELEASE_VSN, REL_VSN with ERTS_VSN, and by
-boot.

What is written into `scratch` holds the configuration, secrets too, and is read again when the VM restarts
inside its process: it must be private to the user and live as long as the VM.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from relctld.beam.layout import (
    DamagedRelease,
    Version,
    erts_bin,
    is_file,
    read_text,
    start_erl,
    version_dir,
    versions,
)
from relctld.beam.vmargs import (
    Distribution,
    assignment,
    distribution,
    env_flags,
    full_name,
    read_flags,
    split_flags,
)
from relctld.core.spec import Flavour

EPMD_LESS_ERTS = (11, 1)  # from here relx does without epmd where ERL_DIST_PORT is set


@dataclass(frozen=True, slots=True)
class Release:
    """A release that can be launched: what to run, and what is known of the node before it runs.

    `command` is absolute; `env` comes on top of the release's own environment. `epmd` is None where the tree
    has none. `warnings` name what will hurt later, though the VM boots.
    """

    root: Path
    flavour: Flavour
    name: str
    boot_version: str
    erts_version: str | None
    command: tuple[str, ...]
    env: Mapping[str, str]
    node: str | None
    epmd: Path | None
    epmd_needed: bool
    renders_src: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tree:
    """What a flavour has to work with: the root, the release's name, its script's text, env and scratch.

    `version` is that to start, whatever the files select; None: what they do.
    """

    root: Path
    name: str
    script: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    scratch: Path | None = None
    version: str | None = None


def relx(tree: Tree) -> Release:
    """rebar3's release: the extended start script, or the simple one, which knows no commands."""
    script = f"bin/{tree.name}" if tree.version is None else f"bin/{tree.name}-{tree.version}"
    version, erts = (_script_value(tree.script, key) for key in ("REL_VSN", "ERTS_VSN"))
    if not version or not erts or tree.version not in (None, version):
        raise DamagedRelease(f"{script} does not say REL_VSN and ERTS_VSN: its head is missing")
    folder = version_dir(tree.root, version, script)
    bin_dir = erts_bin(tree.root, erts, script)
    _need_boot_file(folder, tree.name, "start")
    extended = "foreground" in tree.script
    vm_args = _relx_input(tree, folder, "vm.args", "VMARGS_PATH")
    sys_config = _relx_input(tree, folder, "sys.config", "RELX_CONFIG_PATH")
    renders = extended and (_is_rendered(vm_args, tree) or _is_rendered(sys_config, tree))
    known = {"REL_NAME": tree.name, "RELEASE_NAME": tree.name, "RELEASE_VSN": version}
    source = vm_args.with_name(f"{vm_args.name}.src")
    vm_args = source if extended and is_file(source) else vm_args
    dist = distribution(read_flags(vm_args, {**tree.env, **known}) + env_flags(tree.env))
    if tree.env.get("ERL_DIST_PORT") and _numbers(erts) >= EPMD_LESS_ERTS:
        dist = Distribution(dist.node, epmd_needed=False)
    return Release(
        root=tree.root,
        flavour=Flavour.RELX,
        name=tree.name,
        boot_version=version,
        erts_version=erts,
        command=(str(tree.root / script), *(["foreground"] if extended else ["-noinput", "+Bd"])),
        env=_into_scratch(tree, "RELX_OUT_FILE_PATH") if renders else {},
        node=dist.node,
        epmd=_epmd(bin_dir),
        epmd_needed=dist.epmd_needed,
        renders_src=renders,
        warnings=_line_ends(vm_args, f"{script} will not find the node"),
    )


def mix(tree: Tree) -> Release:
    """Elixir's own: the script takes the version from start_erl.data and the node's name from env.sh."""
    erts, version = _chosen(tree, tree.root / "releases" / "start_erl.data", "RELEASE_VSN")
    folder = version_dir(tree.root, version, f"bin/{tree.name}")
    vm_args = Path(tree.env.get("RELEASE_VM_ARGS") or folder / "vm.args")
    for needed in (folder / "env.sh", folder / "elixir", vm_args):
        if not is_file(needed):
            raise DamagedRelease(f"{needed} is missing")
    _need_boot_file(folder, tree.env.get("RELEASE_BOOT_SCRIPT") or "start")
    sys_config = Path(f"{tree.env.get('RELEASE_SYS_CONFIG') or folder / 'sys'}.config")
    config = read_text(sys_config)
    if config is None:
        raise DamagedRelease(f"{sys_config} is missing")
    bundled = re.search(r"/erts-([^/\s\"]+)/bin", read_text(folder / "elixir") or "")
    bin_dir = erts_bin(tree.root, bundled[1], str(folder / "elixir")) if bundled else None
    name = tree.env.get("RELEASE_NAME") or _script_value(tree.script, "RELEASE_NAME") or tree.name
    dist = _mix_distribution(tree, folder, vm_args, name)
    return Release(
        root=tree.root,
        flavour=Flavour.MIX,
        name=name,
        boot_version=version,
        erts_version=bundled[1] if bundled else erts,
        command=(str(tree.root / "bin" / tree.name), "start"),
        env={
            **(_into_scratch(tree, "RELEASE_TMP") if "RUNTIME_CONFIG=true" in config else {}),
            **({"RELEASE_VSN": version} if tree.version else {}),
        },
        node=dist.node,
        epmd=_epmd(bin_dir),
        epmd_needed=dist.epmd_needed,
    )


def distillery(tree: Tree) -> Release:
    """Distillery 2.x: var/start_erl.data decides, unless the one in releases/ is newer."""
    shipped = tree.root / "releases" / "start_erl.data"
    var = Path(tree.env.get("RELEASE_MUTABLE_DIR") or tree.root / "var")
    erts, version = _chosen(tree, _newer(shipped, var / "start_erl.data"), "REL_VSN")
    folder = version_dir(tree.root, version, f"bin/{tree.name}")
    bin_dir = erts_bin(tree.root, erts, "start_erl.data") if erts else None
    if not is_file(folder / f"{tree.name}.sh"):
        raise DamagedRelease(f"{folder / tree.name}.sh is missing")
    _need_boot_file(folder, tree.name, "start")
    vm_args = Path(tree.env.get("VMARGS_PATH") or folder / "vm.args")
    dist = distribution(read_flags(vm_args, tree.env) + env_flags(tree.env))
    return Release(
        root=tree.root,
        flavour=Flavour.DISTILLERY,
        name=tree.name,
        boot_version=version,
        erts_version=erts,
        command=(str(tree.root / "bin" / tree.name), "foreground"),
        env={"REL_VSN": version, "ERTS_VSN": erts or ""} if tree.version else {},
        node=dist.node,
        epmd=_epmd(bin_dir),
        epmd_needed=dist.epmd_needed,
        warnings=_line_ends(vm_args, f"bin/{tree.name} will not find the node"),
    )


def plain(tree: Tree) -> Release:
    """A target system of systools: no script, so we do what erts's start_erl does, in the foreground."""
    root = Path(os.path.realpath(tree.root))  # as the scripts do: a link that is switched moves no running node
    erts, version = _plain_version(root, tree.version)
    folder = version_dir(root, version, "releases/start_erl.data")
    bin_dir = erts_bin(root, erts, "releases/start_erl.data")
    if bin_dir is None:
        raise DamagedRelease(f"{root}/erts-{erts}/bin/erlexec is missing, and a plain release has no other ERTS")
    boot = _need_boot_file(folder, "start", tree.name)
    vm_args = folder / "vm.args"
    command = [str(bin_dir / "erlexec"), "-noinput", "+Bd", "-boot", str(boot)]
    command += ["-config", str(folder / "sys")] if is_file(folder / "sys.config") else []
    command += ["-args_file", str(vm_args)] if is_file(vm_args) else []
    dist = distribution(read_flags(vm_args, {}) + env_flags(tree.env))
    return Release(
        root=tree.root,
        flavour=Flavour.PLAIN,
        name=tree.name,
        boot_version=version,
        erts_version=erts,
        command=tuple(command),
        env={"ROOTDIR": str(root), "BINDIR": str(bin_dir), "EMU": "beam", "PROGNAME": "erl"},
        node=dist.node,
        epmd=_epmd(bin_dir),
        epmd_needed=dist.epmd_needed,
    )


def _chosen(tree: Tree, data: Path, variable: str) -> tuple[str | None, str]:
    """(ERTS, version) by start_erl.data, or with the version that is asked for, or that the environment sets."""
    if version := tree.version or tree.env.get(variable):
        return _rel_erts(tree.root, version), version
    return start_erl(data)


def _plain_version(root: Path, wanted: str | None) -> tuple[str, str]:
    """By start_erl.data; where make_tar's tree was only unpacked there is none, and the only version is meant."""
    data = root / "releases" / "start_erl.data"
    if wanted is not None:
        if (erts := _rel_erts(root, wanted)) is None:
            raise DamagedRelease(f"{root}/releases/{wanted} has no .rel that names its ERTS")
        return erts, wanted
    match [] if os.path.lexists(data) else versions(root):
        case [Version(version=version, erts=str(erts))]:
            return erts, version
        case _:
            return start_erl(data)


def _mix_distribution(tree: Tree, folder: Path, vm_args: Path, name: str) -> Distribution:
    """The node as env.sh, read but not run, leaves it to the script."""
    env_sh = read_text(folder / "env.sh") or ""
    known = {**tree.env, "RELEASE_NAME": name, "RELEASE_VSN": folder.name, "RELEASE_COMMAND": "start"}
    kind = assignment(env_sh, "RELEASE_DISTRIBUTION", known, "sname")
    if kind == "none":
        return Distribution(None, epmd_needed=False)
    node = assignment(env_sh, "RELEASE_NODE", known, name)
    flags = read_flags(vm_args, {}) + env_flags(tree.env) + split_flags(tree.env.get("ELIXIR_ERL_OPTIONS", ""), {})
    needed = distribution(["-sname", "any", *flags]).epmd_needed
    return Distribution(full_name(node, kind == "sname") if node and kind else None, needed)


def _relx_input(tree: Tree, folder: Path, name: str, variable: str) -> Path:
    """Where relx takes a file from: the variable, ROOT, then the version's directory."""
    if given := tree.env.get(variable):
        return Path(given)
    beside_bin = tree.root / name
    return beside_bin if is_file(beside_bin) else folder / name


def _is_rendered(path: Path, tree: Tree) -> bool:
    """Whether relx writes the file anew at each start."""
    sources = (path.with_name(f"{path.name}.{suffix}") for suffix in ("src", "orig"))
    return any(is_file(source) for source in sources) or bool(tree.env.get("RELX_REPLACE_OS_VARS"))


def _into_scratch(tree: Tree, variable: str) -> dict[str, str]:
    """Sends what the script writes to `scratch`, unless the release's environment already chose a place."""
    return {variable: str(tree.scratch)} if tree.scratch and not tree.env.get(variable) else {}


def _need_boot_file(folder: Path, *names: str) -> Path:
    """The first of folder/NAME.boot that exists, without its suffix."""
    for name in names:
        if is_file(folder / f"{name}.boot"):
            return folder / name
    raise DamagedRelease(f"{folder} has no {' or '.join(f'{name}.boot' for name in names)}")


def _line_ends(path: Path, consequence: str) -> tuple[str, ...]:
    """The VM itself takes a carriage return for white space; scripts take it for a part of the name."""
    return (f"{path} has CRLF line ends: {consequence}",) if "\r" in (read_text(path) or "") else ()


def _newer(shipped: Path, copy: Path) -> Path:
    """The shell's `shipped -nt copy`, which is true too where there is no copy."""
    try:
        return shipped if shipped.stat().st_mtime_ns > copy.stat().st_mtime_ns else copy
    except OSError:
        return copy if is_file(copy) else shipped


def _script_value(script: str, variable: str) -> str | None:
    """X of a script's line `VARIABLE="X"`, `VARIABLE=X` or `VARIABLE="${VARIABLE:-X}"`, exported or not."""
    match = re.search(rf'^\s*(?:export\s+)?{variable}="?(?:\$\{{{variable}:-)?"?([^"}}$\s]+)', script, re.MULTILINE)
    return match[1] if match else None


def _rel_erts(root: Path, version: str) -> str | None:
    return next((found.erts for found in versions(root) if found.version == version), None)


def _epmd(bin_dir: Path | None) -> Path | None:
    return bin_dir / "epmd" if bin_dir and is_file(bin_dir / "epmd") else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d{1,9}", version)[:2])
