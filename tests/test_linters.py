"""The house rules that a machine can check, as tests: one command runs all."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for folder in ("daemon", "ctl") for path in (ROOT / folder).rglob("*.py"))
FILE_LIMIT = 400
TODO = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def test_ruff_check() -> None:
    run(sys.executable, "-m", "ruff", "check", "--no-fix", ".")


def test_ruff_format() -> None:
    run(sys.executable, "-m", "ruff", "format", "--check", ".")


@pytest.mark.slow
def test_mypy() -> None:
    run(sys.executable, "-m", "mypy")


@pytest.mark.slow
def test_import_contracts() -> None:
    run(str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo")


@pytest.mark.parametrize("script", ["systemd/install.sh", ".ci/run", ".ci/setup"])
def test_shell_scripts_parse(script: str) -> None:
    shell = "bash" if (ROOT / script).read_text().startswith("#!/usr/bin/env bash") else "sh"
    run(shell, "-n", script)
    if shellcheck := shutil.which("shellcheck"):
        run(shellcheck, script)


def test_files_stay_small() -> None:
    long = {
        str(path.relative_to(ROOT)): n for path in SOURCES if (n := len(path.read_text().splitlines())) > FILE_LIMIT
    }
    assert not long, f"over {FILE_LIMIT} lines: split them where a reader would look: {long}"


def test_what_is_to_do_names_its_issue() -> None:
    """`TODO(#12): …`, never a bare one."""
    bare = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if TODO.search(line)
    ]
    assert not bare, bare
