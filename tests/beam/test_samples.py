"""The sample releases do what their DEMO_* variables say; other tests build on that."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from relctld.beam.flavour import inspect
from tests.beam.launching import Running, clean_env, launched
from tests.waiting import wait_until

pytestmark = pytest.mark.beam


@pytest.fixture(params=["rapp", "mapp", "papp"])
def root(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(f"{request.param}_root")
    return found


def get(vm: Running, path: str) -> int:
    port = vm.wait_for("listening on").rpartition(" ")[2]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_lines_ticks_http_and_a_slow_stop(root: Path, public_path: Path, epmd_port: int) -> None:
    env = clean_env(public_path, epmd_port) | {
        "DEMO_LINES": "50", "DEMO_LINE_BYTES": "64", "DEMO_TICK_MS": "20", "DEMO_HTTP_PORT": "0",
        "DEMO_STOP_MS": "900",
    }  # fmt: skip
    with launched(inspect(root), env, public_path) as vm:
        vm.wait_for("tick 3")
        numbered = [line for line in vm.lines() if " line " in line]
        assert [line.split()[2] for line in numbered] == [str(n) for n in range(1, 51)]
        assert {len(line) for line in numbered} == {64}
        assert [get(vm, path) for path in ("/health", "/status/503", "/health", "/no")] == [200, 200, 503, 404]
        vm.process.terminate()
        vm.wait_for("stopping")
        assert "stopped" not in vm.lines()[-1]
        assert vm.process.wait(20) == 0
        assert vm.lines()[-1].endswith("stopped")


@pytest.mark.parametrize(("how", "code"), [("halt:3", 3), ("app", 1), ("dump", 1), ("abort", -signal.SIGABRT)])
def test_crashes(how: str, code: int, papp_root: Path, public_path: Path, epmd_port: int) -> None:
    env = clean_env(public_path, epmd_port) | {"DEMO_CRASH": how, "DEMO_CRASH_AFTER_MS": "1"}
    with launched(inspect(papp_root), env, public_path) as vm:
        assert vm.process.wait(20) == code


@pytest.mark.parametrize("command", ["sleep 9999", "setsid -f sleep 9999"])
def test_a_port_program_outlives_the_vm(command: str, papp_root: Path, public_path: Path, epmd_port: int) -> None:
    env = clean_env(public_path, epmd_port) | {"DEMO_PORT_PROGRAM": command, "TRACE": str(public_path)}
    with launched(inspect(papp_root), env, public_path) as vm:
        vm.wait_for("started")
        sleeper = wait_until(lambda: sleepers(env["TRACE"]), what="the port program")[0]
        assert vm.terminate() == 0
    assert sleeper.is_running()
    sleeper.kill()


def sleepers(trace: str) -> list[psutil.Process]:
    """The `sleep` processes that inherited our TRACE."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.name() == "sleep" and process.environ().get("TRACE") == trace:
                found.append(process)
        except psutil.Error:  # gone meanwhile, or another user's
            continue
    return found


def test_a_crash_that_happens_once(papp_root: Path, public_path: Path, epmd_port: int) -> None:
    env = clean_env(public_path, epmd_port) | {
        "DEMO_CRASH": "halt:4", "DEMO_CRASH_AFTER_MS": "1", "DEMO_CRASH_UNLESS": str(public_path / "once"),
    }  # fmt: skip
    with launched(inspect(papp_root), env, public_path) as vm:
        assert vm.process.wait(20) == 4
    with launched(inspect(papp_root), env | {"DEMO_TICK_MS": "50"}, public_path) as vm:
        vm.wait_for("tick 4")


def test_a_boot_that_is_slow_a_boot_that_fails_and_a_stop_that_is_ignored(
    papp_root: Path, public_path: Path, epmd_port: int
) -> None:
    env = clean_env(public_path, epmd_port)
    with launched(inspect(papp_root), env | {"DEMO_BOOT_FAIL": "no database"}, public_path) as vm:
        assert vm.process.wait(20) == 1
        assert "no database" in vm.log.read_text()
    with launched(inspect(papp_root), env | {"DEMO_BOOT_MS": "500", "DEMO_IGNORE_STOP": "1"}, public_path) as vm:
        vm.wait_for("starting")
        assert not any("started" in line for line in vm.lines())
        vm.wait_for("started")
        ignored = int(Path(f"/proc/{vm.process.pid}/status").read_text().partition("SigIgn:\t")[2].split()[0], 16)
        assert ignored & 1 << (signal.SIGTERM - 1)
        os.kill(vm.process.pid, signal.SIGTERM)
        assert vm.process.poll() is None
