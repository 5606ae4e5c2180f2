"""Lays out what Distillery 2.x would have made of papp, for Distillery itself needs packages from the network.

    bin/NAME                    chooses the version, as Distillery's NAME_rc_exec.sh does
        NAME_rc_exec.sh
        start_clean.boot
    releases/RELEASES, start_erl.data
             VSN/NAME.sh        the commands; here `foreground` alone
                 libexec/  hooks/  commands/
                 start.boot  sys.config  vm.args
    var/start_erl.data          wins over that in releases/ unless that one is newer

The scripts are ours, not Distillery's: they keep its paths, its choice of the version, and the exec of erlexec.
"""

from __future__ import annotations

from pathlib import Path

from tests.releases.build import place

NAME = "papp"

ENTRY = """#!/bin/sh
set -e
SCRIPT_DIR="$(cd "$(dirname "$0")" && pwd -P)"
REL_NAME="${REL_NAME:-papp}"
exec "${SCRIPT_DIR}/${REL_NAME}_rc_exec.sh" "$@"
"""

EXEC = """#!/usr/bin/env bash
set -e
RELEASE_ROOT_DIR="$(cd "$(dirname "$0")/.." && pwd)"
RELEASE_MUTABLE_DIR="${RELEASE_MUTABLE_DIR:-"${RELEASE_ROOT_DIR}/var"}"
START_ERL_DATA="${RELEASE_MUTABLE_DIR}/start_erl.data"
REL_NAME="${REL_NAME:-papp}"
mkdir -p "$RELEASE_MUTABLE_DIR"
if [[ "${RELEASE_ROOT_DIR}/releases/start_erl.data" -nt "${START_ERL_DATA}" ]]; then
    cp "${RELEASE_ROOT_DIR}/releases/start_erl.data" "${START_ERL_DATA}"
fi
REL_VSN="${REL_VSN:-$(cut -d' ' -f2 "${START_ERL_DATA}")}"
ERTS_VSN="${ERTS_VSN:-$(cut -d' ' -f1 "${START_ERL_DATA}")}"
export RELEASE_ROOT_DIR REL_NAME REL_VSN ERTS_VSN
exec "$RELEASE_ROOT_DIR/releases/$REL_VSN/$REL_NAME.sh" "$@"
"""

COMMANDS = """#!/usr/bin/env bash
set -e
cd "$RELEASE_ROOT_DIR"
REL_DIR="$RELEASE_ROOT_DIR/releases/$REL_VSN"
export ROOTDIR="$RELEASE_ROOT_DIR" BINDIR="$RELEASE_ROOT_DIR/erts-$ERTS_VSN/bin" EMU=beam PROGNAME="${0#*/}"
[ "$1" = foreground ] || { echo "unknown command $1" >&2; exit 1; }
exec "$BINDIR/erlexec" -noshell -noinput +Bd -boot "$REL_DIR/start" -config "$REL_DIR/sys" \\
    -args_file "$REL_DIR/vm.args" -mode embedded
"""


def lay_out(papp: Path, to: Path) -> Path:
    """A copy at `to` of the release papp, turned into a Distillery release of the same name and version."""
    root = place(papp, to)
    version = (root / "releases" / "start_erl.data").read_text().split()[1]
    release = root / "releases" / version
    for folder in (root / "bin", root / "var", release / "libexec", release / "hooks", release / "commands"):
        folder.mkdir()
    (root / "bin" / "start_clean.boot").write_bytes((release / "start.boot").read_bytes())
    scripts = {
        root / "bin" / NAME: ENTRY,
        root / "bin" / f"{NAME}_rc_exec.sh": EXEC,
        release / f"{NAME}.sh": COMMANDS,
    }
    for path, text in scripts.items():
        path.write_text(text)
        path.chmod(0o755)
    return root
