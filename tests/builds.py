"""Copies of relctl as other builds of it, as pip would install them one over the other.

site = tmp_path / "site"
build(site, "0.1.0")
daemon.environ["PYTHONPATH"] = str(site)
"""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Only a successor has this variable: neither a first start nor a trial waits.
_HOLD = """
import os, time
if "RELCTLD_KEEP" in os.environ and os.path.exists({hold!r}):
    open({hold!r} + ".reached", "w").close()
    while os.path.exists({hold!r}):
        time.sleep(0.01)
"""


def build(site: Path, version: str, *, hold: Path | None = None) -> None:
    """Put a build of this version into `site`, in place of what is there.

    `hold`: a successor waits before its first step for as long as there is this file; HOLD.reached says that it does.
    """
    for source in ("daemon/relctld", "ctl/relctl"):
        target = site / Path(source).name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
    head = site / "relctld" / "__init__.py"
    text = f'__version__ = "{version}"\n'
    head.write_text(text + (_HOLD.format(hold=str(hold)) if hold is not None else ""))
