"""A release by its files, with relx's script in a few lines: its VM is one of `fakes.vm`, its shell `fakes.shell`."""

import shlex
import sys
from pathlib import Path
from typing import Any

from tests.fakes import vm

_SHELL = Path(__file__).with_name("shell.py")
_SCRIPT = """\
#!/bin/sh
REL_VSN="1.0.0"
ERTS_VSN="13.1"
# what would call erlexec
case "$1" in
    foreground) exec {vm} ;;
    remote_console) exec {shell} ;;
esac
"""


def shell_release(root: Path, **keys: Any) -> dict[str, Any]:
    """The table of a release whose remote shell is the program of `fakes.shell`."""
    version = root / "releases" / "1.0.0"
    version.mkdir(parents=True)
    (version / "web.boot").touch()
    script = root / "bin" / "web"
    script.parent.mkdir()
    shell = shlex.join([sys.executable, "-IS", str(_SHELL)])
    script.write_text(_SCRIPT.format(vm=shlex.join(vm()), shell=shell))
    script.chmod(0o755)
    return {"root": root, "ready": "exec:true", **keys}
