"""logs without relctld: where the files are, what may be read, what is shown of it."""

from __future__ import annotations

import gzip
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from relctld.logfiles import times
from relctld.logfiles.names import micros_of
from relctld.wire.messages import Reply, Request
from tests.unit.relctl.conftest import Done, Relctl
from tests.unit.relctl.fake import FakeDaemon, Said, problem
from tests.unit.relctl.samples import data

ROTATED = "2026-01-31T12-00-00.000000Z"
NOON = micros_of(ROTATED)
SECOND = 1_000_000
EXITED = "relctl: exited (epoch 7, pid 4711) at 2026-11-22T11:20:00.123Z: killed, SIGKILL"


class Logs:
    """A directory of logs that RUN/log leads to; nobody listens on RUN/control.sock."""

    def __init__(self, run_dir: Path) -> None:
        self.root = run_dir / "logs"
        self.root.mkdir()
        (run_dir / "log").symlink_to("logs")

    def write(self, release: str, text: str, name: str = "current", at: int | None = None) -> Path:
        """Append, at a time so many seconds from noon; to a rotated file, which is compressed, only once."""
        folder = self.root / release
        folder.mkdir(exist_ok=True)
        path = folder / name
        if at is not None:
            size = path.stat().st_size if path.exists() else 0
            path.touch()
            index = times.path_of(str(folder), name.removesuffix(".log.gz"))
            times.add(index, path.stat().st_ino, times.Record(NOON + at * SECOND, size))
        with path.open("ab") as file:
            file.write(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path


@pytest.fixture
def logs(folder: Path) -> Logs:
    return Logs(folder)


@pytest.fixture
def web(logs: Logs) -> Logs:
    logs.write("web", "1\n2\n", f"{ROTATED}.log.gz", at=-60)
    for number in range(3, 7):
        logs.write("web", f"{number}\n", at=10 * number)
    return logs


def test_it_needs_no_relctld(relctl: Relctl, web: Logs) -> None:
    assert relctl("logs", "web") == Done(0, "1\n2\n3\n4\n5\n6\n", "")
    assert relctl("logs", "web", "-n", "5").out == "2\n3\n4\n5\n6\n"
    assert relctl("logs", "web", "--grep", "[246]").out == "2\n4\n6\n"


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("--since", "2026-01-31T12:00:40.9Z"), "4\n5\n6\n"),
        (("--since", "2026-01-31T12:00:41Z"), "5\n6\n"),
        (("--since", "2026-01-31T11:00:00Z", "--until", "2026-01-31T12:00:49.5Z"), "1\n2\n3\n4\n"),
        (("--until", "2026-01-31T12:00:45Z", "-n", "2"), "3\n4\n"),
        (("--until", "2026-01-31T12:00:45Z", "--grep", "[14]"), "1\n4\n"),
        (("--since", "1m"), ""),
    ],
)
def test_between_two_moments(relctl: Relctl, web: Logs, options: tuple[str, ...], shown: str) -> None:
    assert relctl("logs", "web", *options) == Done(0, shown, "")


def test_several_by_time(relctl: Relctl, web: Logs) -> None:
    web.write("api", "a\nb\n", at=35)
    web.write("api", "c\n", at=45)
    shown = relctl("logs", "web", "api", "--since", "2026-01-31T12:00:30Z").out
    assert shown == "web | 3\napi | a\napi | b\nweb | 4\napi | c\nweb | 5\nweb | 6\n"


def test_times_in_the_lines_are_finer_than_the_index(relctl: Relctl, logs: Logs) -> None:
    logs.write("web", "2026-01-31T12:00:00.000001Z 1\n2026-01-31T12:00:00.000004Z 4\n", at=0)
    logs.write("api", "2026-01-31T12:00:00.000002Z 2\n2026-01-31T12:00:00.000003Z 3\n", at=0)
    assert [line[-1] for line in relctl("logs", "web", "api").out.splitlines()] == ["1", "2", "3", "4"]


def test_json_says_when(relctl: Relctl, web: Logs) -> None:
    lines = [json.loads(line) for line in relctl("logs", "web", "--json", "-n", "2").out.splitlines()]
    assert lines == [
        {"release": "web", "at": "2026-01-31T12:00:50Z", "line": "5"},
        {"release": "web", "at": "2026-01-31T12:01:00Z", "line": "6"},
    ]


def test_before_the_last_exit(relctl: Relctl, web: Logs) -> None:
    nothing = "relctl: cannot logs web: no VM of it exited, as far as its log and its last exit tell\n"
    assert relctl("logs", "web", "--crash") == Done(5, "", nothing)
    web.write("web", f"panic\n{EXITED}\nrelctl: starting (epoch 8) at …\n7\nno relctl: exited (x\n", at=70)
    assert relctl("logs", "web", "--crash", "-n", "2").out == f"panic\n{EXITED}\n"


def test_before_the_last_exit_that_relctld_knows_of(relctl: Relctl, sock: Path, web: Logs) -> None:
    web.write("web", f"{EXITED}\n", at=80)
    web.write("web", "panic\n", at=90)
    web.write("web", "boot\n", at=95)

    def script(request: Request) -> Iterator[Said]:
        yield Reply(request.id, {"releases": [{"last_exit": {"at": "2026-01-31T12:01:30.500Z"}}]})

    with FakeDaemon(sock, script):
        assert relctl("logs", "web", "--crash", "-n", "1").out == "panic\n"


def test_what_may_not_be_read_relctld_reads(relctl: Relctl, sock: Path, web: Logs) -> None:
    (web.root / "web").rename(web.root / "elsewhere")
    (web.root / "web").symlink_to("elsewhere")  # a link is not followed

    def script(request: Request) -> Iterator[Said]:
        yield Reply(request.id, data(b"from relctld\n", 13))

    with FakeDaemon(sock, script):
        assert relctl("logs", "web").out == "from relctld\n"


def test_closed_files_are_named(relctl: Relctl, web: Logs) -> None:
    by_root = os.geteuid() == 0
    (web.root / "web").chmod(0o711 if by_root else 0o311)
    done = relctl("logs", "web", **({"user": 65534, "group": 65534, "extra_groups": []} if by_root else {}))
    (web.root / "web").chmod(0o755)
    assert done.code == 4
    assert done.err.startswith("relctl: cannot logs web: relctld is not running")
    assert f"{web.root}/web may not be read by you" in done.err


def test_of_an_unknown_release_relctld_is_asked(relctl: Relctl, sock: Path, web: Logs) -> None:
    with FakeDaemon(sock, problem("unknown-release", "no release is named wep", "did you mean web?")):
        assert relctl("logs", "wep").code == 5
    assert relctl("logs", "wep").code == 4
    assert relctl("logs", "../logs/web").code == 4


def test_another_directory(relctl: Relctl, web: Logs, tmp_path: Path) -> None:
    assert relctl("logs", "web", "--log-dir", str(web.root), "-n", "1").out == "6\n"
    done = relctl("logs", "api", "--log-dir", str(web.root))
    assert done == Done(5, "", f"relctl: cannot logs api: there is no log of it in {web.root}\n")


def test_the_defaults_where_nobody_says_where(relctl: Relctl, web: Logs, tmp_path: Path) -> None:
    state = tmp_path / "state/relctl"
    state.mkdir(parents=True)
    web.root.rename(state / "log")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("RELCTL_", "XDG_"))}
    environ |= {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_RUNTIME_DIR": str(tmp_path), "TMPDIR": str(tmp_path)}
    if Path("/run/relctl/control.sock").exists():
        pytest.skip("a relctld of this host would be asked")
    assert relctl("logs", "web", "-n", "1", env=environ).out == "6\n"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--since", "soon"), "'soon' is no time: RFC 3339 such as"),
        (("--grep", "("), "'(' is no regular expression"),
        (("--since", "1m", "--until", "2m"), "--until is before --since"),
        (("--until", "1m", "-f"), "--until sets an end: it does not go with -f"),
        (("--crash", "-f"), "--crash ends at the last exit: it does not go with -f"),
        (("--crash", "--since", "1m"), "--crash ends at the last exit: it does not go with --since"),
        (("--rotate", "--until", "1m"), "--rotate shows nothing: it does not go with --until"),
    ],
)
def test_what_makes_no_sense(relctl: Relctl, options: tuple[str, ...], why: str) -> None:
    done = relctl("logs", "web", *options)
    assert done.code == 2
    assert why in done.err


def test_following_across_rotation(relctl: Relctl, web: Logs) -> None:
    with relctl.popen("logs", "web", "-f", "-n", "1") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"6\n"
        web.write("web", "7\n")
        assert process.stdout.readline() == b"7\n"
        web.write("web", "8\n").rename(web.root / "web/2026-01-31T12-30-00.000000Z.log")
        web.write("web", "9\n")
        assert process.stdout.readline() == b"8\n"
        assert process.stdout.readline() == b"9\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[0] == b""
    assert process.returncode == 0
