"""The command of a remote shell, by the files of a release and the flags of its VM."""

from __future__ import annotations

from pathlib import Path

import pytest

from relctld.beam.flavour import Flavour, Release, inspect
from relctld.beam.remote import NoRemoteShell, RemoteShell, remote_environment, remote_shell

ERTS = "13.1.5"
REL = """%% {not_me,"1"}
{release,{"web","1.0.0"},{erts,"13.1.5"},
 [{kernel,"8.5.3"},{stdlib, "4.2"},{sasl,"4.2",temporary},{'my app',"1"},{web_core,"1.0.0"}]}.
"""
RELX = """#!/bin/sh
REL_VSN="1.0.0"
ERTS_VSN="13.1.5"
case "$1" in foreground) exec "$BINDIR/erlexec";; remote_console) ;; esac
"""
MIX = '#!/bin/sh\nRELEASE_COMMAND="$1"\nREL_VSN_DIR="$RELEASE_ROOT/releases/$RELEASE_VSN"\n'
DISTILLERY = '#!/bin/sh\nexec "${SCRIPT_DIR}/web_rc_exec.sh" "$@"\n'
SCRIPTS = {Flavour.RELX: RELX, Flavour.MIX: MIX, Flavour.DISTILLERY: DISTILLERY}
VM = ["/r/erts/bin/beam.smp", "-Bd", "--", "-root", "/r", "-progname", "erl", "--", "-boot", "x"]


def release(root: Path, flavour: Flavour, *, script: str | None = None, erts: str = ERTS, **more: str) -> Release:
    version = "releases/1.0.0"
    files = {
        f"erts-{erts}/bin/erlexec": "",
        "releases/start_erl.data": f"{erts} 1.0.0\n",
        f"{version}/start.boot": "",
        f"{version}/web.rel": REL,
        f"{version}/sys.config": "[].",
        f"{version}/vm.args": "-name web@10.0.0.1\n",
        f"{version}/env.sh": "",
        f"{version}/elixir": "",
        f"{version}/web.sh": "",
        "bin/web_rc_exec.sh": "",
        **{name.replace("__", "/"): text for name, text in more.items()},
    }
    if flavour is Flavour.PLAIN:
        del files[f"{version}/env.sh"]
    else:
        files["bin/web"] = script or SCRIPTS[flavour]
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return inspect(root, flavour, "web")


@pytest.mark.parametrize(
    ("flavour", "command", "env"),
    [
        (Flavour.RELX, "remote_console", {"RELX_OUT_FILE_PATH": "/session"}),
        (Flavour.MIX, "remote", {"RELEASE_TMP": "/session"}),
        (Flavour.DISTILLERY, "remote_console", {}),
    ],
)
def test_a_release_with_a_script_has_its_own_shell(
    tmp_path: Path, flavour: Flavour, command: str, env: dict[str, str]
) -> None:
    shell = remote_shell(release(tmp_path, flavour), Path("/session"), [*VM, "-name", "web@10.0.0.1"], None)
    assert shell == RemoteShell((f"{tmp_path}/bin/web", command), env)


@pytest.mark.parametrize("told", [{"foreground": "console"}, {"remote_console": "attach"}])
def test_a_script_of_relx_that_knows_no_shell(tmp_path: Path, told: dict[str, str]) -> None:
    script = RELX
    for word, other in told.items():
        script = script.replace(word, other)
    with pytest.raises(NoRemoteShell, match="is relx's simple script, which has no remote shell") as caught:
        remote_shell(release(tmp_path, Flavour.RELX, script=script), Path("/session"), [], None)
    assert caught.value.hint == "build the release with {extended_start_script, true}"


@pytest.mark.parametrize("flavour", list(Flavour))
def test_a_node_without_a_name_has_none(tmp_path: Path, flavour: Flavour) -> None:
    with pytest.raises(NoRemoteShell, match="its node has no name"):
        remote_shell(release(tmp_path, flavour), Path("/session"), VM, None)


def test_what_is_no_vm_yet_or_cannot_be_seen_tells_nothing(tmp_path: Path) -> None:
    for flags in ([], ["/bin/sh", "bin/web", "foreground"]):
        assert remote_shell(release(tmp_path, Flavour.MIX), Path("/session"), flags, None).argv[1:] == ("remote",)


def plain(root: Path, *flags: str, configured: str | None = None, erts: str = ERTS, **more: str) -> RemoteShell:
    named = release(root, Flavour.PLAIN, erts=erts, **more)
    return remote_shell(named, Path("/session"), [*VM, *flags], configured)


def test_a_plain_release_is_connected_to_by_its_own_erts(tmp_path: Path) -> None:
    shell = plain(tmp_path, "-name", "web@127.0.0.1", "-setcookie", "secret")
    boot = ["-boot", f"{tmp_path}/releases/1.0.0/start", "-kernel", "permissions"]
    denied = "[{sasl,false},{'my app',false},{web_core,false}]"
    name = ["-name", "undefined@127.0.0.1", "-hidden", "-dist_listen", "false", "-remsh", "web@127.0.0.1"]
    erlexec = f"{tmp_path}/erts-{ERTS}/bin/erlexec"
    assert list(shell.argv) == [erlexec, *boot, denied, "-mode", "interactive", *name]
    assert (shell.env, shell.node, shell.needs_cookie) == ({"HOME": "/session"}, "web@127.0.0.1", True)
    assert "secret" not in " ".join(shell.argv)


def test_a_clean_boot_file_goes_before_the_releases_own(tmp_path: Path) -> None:
    shell = plain(tmp_path, "-sname", "web@box", bin__start_clean="", **{"bin__start_clean.boot": ""})
    assert shell.argv[1:4] == ("-boot", f"{tmp_path}/bin/start_clean", "-mode")
    assert "-kernel" not in shell.argv
    assert shell.argv[5:7] == ("-sname", "undefined@box")


def test_an_old_erts_gives_no_names_away(tmp_path: Path) -> None:
    one, other = (plain(tmp_path, "-name", "web@10.0.0.1", erts="10.7").argv for _ in range(2))
    assert [argv[argv.index("-name") + 1].split("-")[0] for argv in (one, other)] == ["remsh", "remsh"]
    assert one != other


def test_the_shell_speaks_as_the_node_does(tmp_path: Path) -> None:
    spoken = ["-proto_dist", "inet_tls", "-ssl_dist_optfile", "/etc/tls", "-start_epmd", "false"]
    argv = plain(tmp_path, "-name", "web@10.0.0.1", *spoken, "-heart", "-kernel", "x", "1").argv
    assert argv[-8:-2] == (*spoken,)
    assert "-heart" not in argv


def test_the_config_names_a_node_whose_name_only_it_knows(tmp_path: Path) -> None:
    files = {"releases__1.0.0__vm.args": "-name web\n"}
    with pytest.raises(NoRemoteShell, match="the name of its node is not known") as caught:
        plain(tmp_path, "-name", "web", **files)
    assert caught.value.hint == 'say it in the config: node = { name = "NAME@HOST" }'
    assert plain(tmp_path, configured="web@box.example", **files).node == "web@box.example"


def test_a_plain_release_that_tells_nothing_of_its_applications(tmp_path: Path) -> None:
    named = release(tmp_path, Flavour.PLAIN)
    (tmp_path / "releases" / "1.0.0" / "web.rel").unlink()
    with pytest.raises(NoRemoteShell, match=r"has neither start_clean.boot nor web.rel"):
        remote_shell(named, Path("/session"), [], None)


def test_the_environment_is_the_vms_but_for_heart_and_crash_dumps() -> None:
    env = {"ERL_CRASH_DUMP": "/x", "ERL_CRASH_DUMP_BYTES": "1", "ERL_EPMD_PORT": "1", "HOME": "/home", "TERM": "no"}
    env["HEART_COMMAND"] = "bin/web daemon"
    shell = RemoteShell(("bin/web",), {"HOME": "/session"})
    assert remote_environment(env, shell, "xterm") == {
        "ERL_EPMD_PORT": "1",
        "HOME": "/session",
        "TERM": "xterm",
        "ERL_CRASH_DUMP_SECONDS": "0",
        "ERL_ZFLAGS": "-env HEART_COMMAND true",
    }
