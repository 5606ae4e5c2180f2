"""What the config says of a release reaches its VM, and nothing else does."""

import os
import re
from pathlib import Path

import pytest

from tests.beam.supervised import OTHER_USER, Host, crashed, get, http_ready, notes
from tests.epmds import free_port
from tests.running import Relctld
from tests.waiting import wait_until

pytestmark = pytest.mark.beam
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a release as another user")

FOREIGN = {
    "RELEASE_VSN": "9.9.9",
    "RELEASE_NODE": "foreign@127.0.0.1",
    "RELEASE_COOKIE": "foreign",
    "REL_VSN": "9.9.9",
    "ROOTDIR": "/foreign",
    "BINDIR": "/foreign",
    "ERL_FLAGS": "-foreign",
    "ERL_LIBS": "/foreign",
    "LISTEN_FDS": "3",
    "INVOCATION_ID": "foreign",
    "RELCTL_SOCKET": "/foreign",
    "SECRET_TOKEN": "foreign",
    "TZ": "UTC",
}
BUILT_UP = {"HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "TZ"}
OURS = {
    "RELCTL_INSTANCE", "RELCTL_RELEASE", "RELCTL_EPOCH",
    "ERL_CRASH_DUMP", "ERL_CRASH_DUMP_BYTES", "ERL_CRASH_DUMP_SECONDS",
}  # fmt: skip
GIVEN = {"ERL_EPMD_PORT", "ERL_EPMD_ADDRESS", "TRACE", "DEMO_HTTP_PORT", "FROM_FILE", "BOTH", "SPACED"}
SHELLS = {"PWD", "OLDPWD", "SHLVL", "_"}
ERTS = {"ROOTDIR", "BINDIR", "EMU", "PROGNAME"}
SCRIPTS = re.compile(r"(REL|RELEASE|RELX|RUN_ERL|ERTS)_\w+|ESCRIPT_NAME|LD_LIBRARY_PATH|NAME|TERM")


def environment(port: int) -> dict[str, str]:
    """What os:getenv() says in the node."""
    status, body = get(port, "/env")
    assert status == 200
    return dict(line.split("=", 1) for line in body.splitlines() if "=" in line)


@pytest.mark.parametrize("root", ["papp_root", "dapp_root", "rapp_root", "mapp_root"])
def test_the_environment_is_built_up(root: str, host: Host, request: pytest.FixtureRequest) -> None:
    place: Path = request.getfixturevalue(root)
    file = host.folder / "web.env"
    file.write_text("# systemd's syntax\nFROM_FILE=file\nBOTH=file\nSPACED='a b'\n")
    port = free_port()
    env = {"DEMO_HTTP_PORT": str(port), "BOTH": "table"}
    table = host.release(place, env, env_file=file, inherit_env=["TZ", "NOT_THERE"], **http_ready(port))
    host.daemon.environ |= FOREIGN
    host.run(web=table).wait_for("web", state="running")
    seen = environment(port)
    assert not [name for name, value in seen.items() if "foreign" in value or value == "9.9.9"]
    assert (seen["FROM_FILE"], seen["BOTH"], seen["SPACED"], seen["TZ"]) == ("file", "table", "a b", "UTC")
    assert (seen["RELCTL_RELEASE"], seen["RELCTL_EPOCH"]) == ("web", "1")
    assert {"LISTEN_FDS", "INVOCATION_ID", "NOTIFY_SOCKET", "SECRET_TOKEN", "RELCTL_SOCKET"}.isdisjoint(seen)
    more = set(seen) - BUILT_UP - OURS - GIVEN - SHELLS
    unknown = [name for name in more - ERTS if root == "papp_root" or not SCRIPTS.fullmatch(name)]
    assert not unknown, "neither built up nor exported by the release's own script"
    assert seen["ROOTDIR"].startswith(str(place))
    if root != "papp_root":
        assert seen["REL_VSN" if root == "dapp_root" else "RELEASE_VSN"] == "1.0.0"


@as_root
def test_user_limits_umask_and_cwd(papp_root: Path, host: Host) -> None:
    port = free_port()
    keys = {"limits": {"nofile": 1234, "core": 0}, "umask": "0077", "user": OTHER_USER, "cwd": host.folder}
    daemon = host.run(web=host.release(papp_root, {"DEMO_HTTP_PORT": str(port)}, **keys, **http_ready(port)))
    pid = daemon.wait_for("web", state="running")["pid"]
    assert get(port, "/fds") == (200, "1234\n")
    limits = Path(f"/proc/{pid}/limits").read_text()
    (nofile,) = [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files")]
    assert nofile == ["1234", "1234"]
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert (status["Umask"], set(status["Uid"].split())) == ("0077", {"65534"})
    assert int(status["CapEff"], 16) == 0
    assert os.readlink(f"/proc/{pid}/cwd") == str(host.folder)
    assert environment(port)["USER"] == OTHER_USER


def said(daemon: Relctld) -> list[str]:
    """What the history says of the health of web."""
    return [event["health"] for event in daemon.events("web") if event["event"] == "health"]


def test_a_node_that_answers_503_is_hung_and_restarted(papp_root: Path, host: Host) -> None:
    port = free_port()
    probe = {"probe": f"http://127.0.0.1:{port}/health", "interval": "200ms", "timeout": "2s", "failures": 2}
    table = host.release(papp_root, {"DEMO_HTTP_PORT": str(port)}, health=probe, **http_ready(port))
    daemon = host.run(web=table)
    first = daemon.wait_for("web", state="running", health="well")
    assert get(port, "/status/503")[0] == 200
    last = crashed(daemon, "web", "hung")
    assert (last["pid"], last["code"]) == (first["pid"], 0)
    assert "503" in last["detail"]
    now = daemon.wait_for("web", state="running", health="well")
    assert (now["restarts"], now["epoch"]) == (1, 2)
    wait_until(lambda: said(daemon) == ["well", "hung", "well"], what=lambda: f"its health: {said(daemon)}")


def test_a_node_that_is_not_ready_yet_is_starting(papp_root: Path, host: Host) -> None:
    port = free_port()
    env = {"DEMO_HTTP_PORT": str(port), "DEMO_HTTP_STATUS": "503"}
    daemon = host.run(web=host.release(papp_root, env, **http_ready(port)))
    wait_until(lambda: get(port, "/version")[0] == 200, 30, what="the node")
    now = daemon.wait_for("web", health_detail="not ready: HTTP 503 Demo")
    assert now["state"] == "starting"
    assert get(port, "/status/200")[0] == 200
    daemon.wait_for("web", state="running")
    wait_until(lambda: notes(daemon, "web")[:3] == ["starting", "spawned", "running"], what="its history")
