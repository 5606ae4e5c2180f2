"""Plain programs that stand in for VMs."""

import sys
from pathlib import Path
from typing import Any

_VM = Path(__file__).with_name("vm.py")


def vm(*words: object) -> list[str]:
    """The command of a fake VM that does what `words` say (`vm.py`), then lives on."""
    return [sys.executable, "-IS", str(_VM), *map(str, words)]


def fake(root: Path, *words: object, **keys: Any) -> dict[str, Any]:
    """A release's table: a fake VM that is ready as soon as it runs."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "README").write_text("not a release\n")
    return {"root": root, "command": vm(*words), "ready": "exec:true", **keys}
