"""Trees made by hand; what real builds look like is asserted in tests/beam/test_flavours.py."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from relctld.beam.flavour import (
    AmbiguousRelease,
    DamagedRelease,
    Flavour,
    NotARelease,
    NothingInstalled,
    inspect,
    versions,
)
from relctld.beam.layout import ReleaseError

ERTS = "13.1.5"
RELX_SCRIPT = f"""#!/bin/sh
export REL_NAME="web"
REL_VSN="1.2.0"
ERTS_VSN="{ERTS}"
case "$1" in foreground) exec "$BINDIR/erlexec";; esac
"""
MIX_SCRIPT = """#!/bin/sh
RELEASE_NAME="${RELEASE_NAME:-"web"}"
RELEASE_COMMAND="$1"
REL_VSN_DIR="$RELEASE_ROOT/releases/$RELEASE_VSN"
. "$REL_VSN_DIR/env.sh"
"""
DISTILLERY_SCRIPT = '#!/bin/sh\nexec "${SCRIPT_DIR}/${REL_NAME}_rc_exec.sh" "$@"\n'


def tree(root: Path, files: dict[str, str]) -> Path:
    """Writes the files below `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def base(version: str = "1.2.0") -> dict[str, str]:
    return {
        f"erts-{ERTS}/bin/erlexec": "",
        f"erts-{ERTS}/bin/epmd": "",
        "releases/start_erl.data": f"{ERTS} {version}\n",
        f"releases/{version}/start.boot": "",
        f"releases/{version}/web.rel": f'{{release,{{"web","{version}"}},{{erts, "{ERTS}"}},[]}}.',
        f"releases/{version}/sys.config": "%% RUNTIME_CONFIG=false\n[].",
        f"releases/{version}/vm.args": "# a node\n-name web@10.0.0.1\n",
    }


def relx(script: str = RELX_SCRIPT) -> dict[str, str]:
    return base() | {"bin/web": script, "bin/web-1.2.0": script, "bin/nodetool": "#!/usr/bin/env escript\n"}


def mix(env_sh: str = "#!/bin/sh\n") -> dict[str, str]:
    return base() | {
        "bin/web": MIX_SCRIPT,
        "releases/COOKIE": "x",
        "releases/1.2.0/env.sh": env_sh,
        "releases/1.2.0/elixir": f'#!/bin/sh\nERTS_BIN="$SCRIPT_PATH"/../../erts-{ERTS}/bin/\n',
        "releases/1.2.0/vm.args": "## nothing\n",
    }


def distillery() -> dict[str, str]:
    return base() | {
        "bin/web": DISTILLERY_SCRIPT,
        "bin/web_rc_exec.sh": '#!/bin/bash\nREL_VSN="${REL_VSN:-x}"\n',
        "releases/1.2.0/web.sh": "#!/bin/bash\n",
    }


FLAVOURS = {
    Flavour.RELX: (relx(), ["bin/web", "foreground"]),
    Flavour.MIX: (mix(), ["bin/web", "start"]),
    Flavour.DISTILLERY: (distillery(), ["bin/web", "foreground"]),
    Flavour.PLAIN: (base(), [f"erts-{ERTS}/bin/erlexec", "-noinput"]),
}


@pytest.mark.parametrize("flavour", Flavour)
def test_each_flavour_by_its_files(flavour: Flavour, tmp_path: Path) -> None:
    files, command = FLAVOURS[flavour]
    root = tree(tmp_path / "web", files)
    for wanted, name in ((None, None), (flavour, None), (None, "web"), (flavour, "web")):
        release = inspect(root, wanted, name)
        assert (release.flavour, release.name, release.boot_version) == (flavour, "web", "1.2.0")
        assert release.command[:2] == (str(root / command[0]), command[1])
        assert (release.erts_version, release.epmd) == (ERTS, root / f"erts-{ERTS}/bin/epmd")


def later(flavour: Flavour) -> dict[str, str]:
    """The files that version 1.3.0 adds, which no file selects."""
    files = FLAVOURS[flavour][0]
    new = {name.replace("1.2.0", "1.3.0"): text.replace("1.2.0", "1.3.0") for name, text in files.items()}
    return {name: text for name, text in new.items() if "1.3.0" in name}


@pytest.mark.parametrize("selected", [True, False])
@pytest.mark.parametrize("flavour", Flavour)
def test_a_version_that_no_file_selects(flavour: Flavour, selected: bool, tmp_path: Path) -> None:
    root = tree(tmp_path / "web", FLAVOURS[flavour][0] | later(flavour))
    if not selected:  # as a first install, before it is decided
        (root / "releases" / "start_erl.data").unlink()
        if flavour is Flavour.RELX:
            (root / "bin" / "web").unlink()
    for wanted, name in ((None, None), (flavour, None), (None, "web"), (flavour, "web")):
        release = inspect(root, wanted, name, version="1.3.0")
        assert (release.flavour, release.name, release.boot_version) == (flavour, "web", "1.3.0")
    match flavour:
        case Flavour.RELX:
            assert release.command == (str(root / "bin" / "web-1.3.0"), "foreground")
        case Flavour.MIX:
            assert release.env["RELEASE_VSN"] == "1.3.0"
        case Flavour.DISTILLERY:
            assert release.env == {"REL_VSN": "1.3.0", "ERTS_VSN": ERTS}
        case Flavour.PLAIN:
            assert str(root / "releases" / "1.3.0" / "start") in release.command
    if selected:
        assert inspect(root).boot_version == "1.2.0"
    with pytest.raises(DamagedRelease if selected else ReleaseError):
        inspect(root, flavour, version="1.4.0")


def test_plain_is_launched_as_start_erl_does(tmp_path: Path) -> None:
    root = tree(tmp_path / "web", base())
    (tmp_path / "current").symlink_to(root)
    release = inspect(tmp_path / "current")
    folder = root / "releases" / "1.2.0"
    assert release.command == (
        str(root / f"erts-{ERTS}/bin/erlexec"), "-noinput", "+Bd", "-boot", str(folder / "start"),
        "-config", str(folder / "sys"), "-args_file", str(folder / "vm.args"),
    )  # fmt: skip
    assert release.env == {
        "ROOTDIR": str(root),
        "BINDIR": f"{root}/erts-{ERTS}/bin",
        "EMU": "beam",
        "PROGNAME": "erl",
    }
    assert release.root == tmp_path / "current"


def test_a_systools_tar_that_was_only_unpacked_boots_its_only_version(tmp_path: Path) -> None:
    root = tree(tmp_path, base())
    (root / "releases" / "start_erl.data").unlink()
    assert inspect(root).boot_version == "1.2.0"
    tree(root, {"releases/1.3.0/start.boot": ""})
    with pytest.raises(DamagedRelease, match=r"start_erl.data is missing"):
        inspect(root)


def test_relx_boots_what_its_script_says_and_the_others_what_start_erl_says(tmp_path: Path) -> None:
    for flavour, (files, _) in FLAVOURS.items():
        root = tree(tmp_path / flavour, files)
        newer = {name.replace("1.2.0", "1.3.0"): text for name, text in files.items() if "/1.2.0/" in name}
        tree(root, newer | {"releases/start_erl.data": f"{ERTS} 1.3.0"})
        assert inspect(root).boot_version == ("1.2.0" if flavour is Flavour.RELX else "1.3.0")
        assert [version.version for version in versions(root)] == ["1.2.0", "1.3.0"]


def test_the_environment_chooses_where_the_scripts_let_it(tmp_path: Path) -> None:
    tree(tmp_path, mix() | {f"releases/1.1.0/{n}": t for n, t in (("start.boot", ""), ("sys.config", ""))})
    tree(tmp_path, {"releases/1.1.0/env.sh": "", "releases/1.1.0/elixir": "", "releases/1.1.0/vm.args": ""})
    release = inspect(tmp_path, env={"RELEASE_VSN": "1.1.0"})
    assert (release.boot_version, release.erts_version, release.epmd) == ("1.1.0", None, None)


def test_distillery_prefers_var_unless_the_shipped_file_is_newer(tmp_path: Path) -> None:
    files = distillery()
    old = {name.replace("1.2.0", "1.1.0"): text for name, text in files.items() if "/1.2.0/" in name}
    root = tree(tmp_path, files | old | {"var/start_erl.data": f"{ERTS} 1.1.0"})
    os.utime(root / "releases/start_erl.data", (1000, 1000))
    assert inspect(root).boot_version == "1.1.0"
    os.utime(root / "var/start_erl.data", (900, 900))
    assert inspect(root).boot_version == "1.2.0"


def test_scratch_is_used_only_where_the_scripts_write(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    root = tree(tmp_path / "relx", relx())
    assert inspect(root, scratch=scratch).env == {}
    tree(root, {"releases/1.2.0/sys.config.src": "[]."})
    release = inspect(root, scratch=scratch)
    assert (release.renders_src, release.env) == (True, {"RELX_OUT_FILE_PATH": str(scratch)})
    assert inspect(root, scratch=scratch, env={"RELX_OUT_FILE_PATH": "/x"}).env == {}
    assert inspect(root).env == {}
    root = tree(tmp_path / "mix", mix())
    assert inspect(root, scratch=scratch).env == {}
    tree(root, {"releases/1.2.0/sys.config": "%% RUNTIME_CONFIG=true\n[]."})
    assert inspect(root, scratch=scratch).env == {"RELEASE_TMP": str(scratch)}


def test_the_simple_relx_script_knows_no_commands(tmp_path: Path) -> None:
    script = RELX_SCRIPT.replace("foreground", "").replace("case", "# ")
    root = tree(tmp_path, relx(script) | {"releases/1.2.0/vm.args.src": "-sname no@where"})
    release = inspect(root)
    assert release.command == (str(root / "bin/web"), "-noinput", "+Bd")
    assert (release.renders_src, release.node) == (False, "web@10.0.0.1")


def test_a_release_without_erts_runs_on_the_hosts(tmp_path: Path) -> None:
    files = {name: text for name, text in relx().items() if not name.startswith("erts-")}
    assert inspect(tree(tmp_path / "relx", files)).epmd is None
    files = {name: text for name, text in mix().items() if not name.startswith("erts-")}
    files["releases/1.2.0/elixir"] = "#!/bin/sh\nERTS_BIN=\n"
    release = inspect(tree(tmp_path / "mix", files))
    assert (release.epmd, release.erts_version) == (None, ERTS)


@pytest.mark.parametrize("root", ["missing", "empty"])
def test_nothing_installed_is_not_a_fault(root: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingInstalled, match=r"^nothing installed: /\S+ is missing or empty$"):
        inspect(tmp_path / root)


def test_what_is_no_release_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotARelease, match="not a directory"):
        inspect(tmp_path / "file")
    root = tree(tmp_path / "web", {"README": "", "bin/web": "#!/bin/sh\necho"})
    message = (
        f"{root}: no release that we know: looked for bin/NAME made by relx, mix or Distillery, "
        "and for releases/VERSION/start.boot beside erts-VERSION; found README, bin"
    )
    with pytest.raises(NotARelease, match=f"^{re.escape(message)}$"):
        inspect(root)
    tree(root, mix())
    with pytest.raises(NotARelease, match=r"looked for a relx release's bin/NAME; found bin/web \(mix\)$"):
        inspect(root, Flavour.RELX)
    with pytest.raises(NotARelease, match=r"looked for bin/api made by .*; found bin/web \(mix\)$"):
        inspect(root, name="api")


def test_a_scripted_release_that_lost_its_script_is_not_plain(tmp_path: Path) -> None:
    root = tree(tmp_path, mix())
    (root / "bin" / "web").unlink()
    with pytest.raises(NotARelease):
        inspect(root)


def test_several_releases_in_one_root_need_a_name(tmp_path: Path) -> None:
    root = tree(tmp_path, relx() | {"bin/api": RELX_SCRIPT})
    with pytest.raises(AmbiguousRelease, match=r"bin/api \(relx\), bin/web \(relx\); set `name`"):
        inspect(root)
    assert inspect(root, name="api").command[0] == str(root / "bin/api")


@pytest.mark.parametrize(
    ("flavour", "file", "text", "message"),
    [
        ("plain", "releases/start_erl.data", "", "start_erl.data is empty"),
        ("mix", "releases/start_erl.data", f"{ERTS} 1.2.0\r\n", r"start_erl.data holds something else"),
        ("plain", "releases/start_erl.data", f"{ERTS} ../../etc", "not \"ERTS VERSION\""),
        ("mix", "releases/start_erl.data", f"{ERTS} 9.9", r"version 9.9, but .* is missing \(found: 1.2.0\)"),
        ("plain", "releases/start_erl.data", "12.0 1.2.0", r"needs ERTS 12.0, .* \(found: erts-13.1.5\)"),
        ("relx", "bin/web", RELX_SCRIPT.replace('"1.2.0"', '"2.0"'), r"bin/web boots version 2.0, but .* missing"),
        ("relx", "bin/web", RELX_SCRIPT.replace("ERTS_VSN", "X"), "does not say REL_VSN and ERTS_VSN"),
        ("mix", "releases/1.2.0/env.sh", None, "env.sh is missing"),
        ("mix", "releases/1.2.0/sys.config", None, "sys.config is missing"),
        ("relx", "releases/1.2.0/start.boot", None, "has no web.boot or start.boot"),
        ("plain", f"erts-{ERTS}/bin/erlexec", None, "erlexec is missing"),
        ("distillery", "releases/1.2.0/web.sh", None, "web.sh is missing"),
    ],
)  # fmt: skip
def test_damage_is_named(flavour: str, file: str, text: str | None, message: str, tmp_path: Path) -> None:
    root = tree(tmp_path, FLAVOURS[Flavour(flavour)][0] | {"releases/1.2.0/other.boot": ""})
    if text is None:
        (root / file).unlink()
    else:
        (root / file).write_text(text)
    with pytest.raises(DamagedRelease, match=rf"^{re.escape(str(root))}: .*{message}"):
        inspect(root)


@pytest.mark.parametrize("kind", ["fifo", "device", "directory", "giant"])
def test_a_device_a_fifo_or_a_giant_is_not_read(kind: str, tmp_path: Path) -> None:
    root = tree(tmp_path, base())
    data = root / "releases" / "start_erl.data"
    data.unlink()
    match kind:
        case "fifo":
            os.mkfifo(data)
        case "device":
            data.symlink_to("/dev/zero")
        case "directory":
            data.mkdir()
        case _:
            data.write_bytes(b"x" * 5000)
    with pytest.raises(DamagedRelease, match=r"not a regular file|larger than 4096 bytes"):
        inspect(root)


def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    root = tree(tmp_path, relx())
    (root / "bin" / "web").chmod(0)
    user = os.geteuid()
    try:
        os.seteuid(user or 65534)  # root reads everything
        with pytest.raises(DamagedRelease, match=r"^/.*: cannot read .*: permission denied$"):
            inspect(root)
    finally:
        os.seteuid(user)


def test_bin_may_hold_programs_that_are_no_scripts(tmp_path: Path) -> None:
    root = tree(tmp_path, relx())
    (root / "bin" / "tool").write_bytes(b"#!/usr/bin/env escript\n" + os.urandom(2_000_000))
    assert inspect(root).name == "web"


@pytest.mark.parametrize("left", ["bin/.web.relctl", "bin/web-1.3.0"])
def test_what_an_interrupted_upgrade_left_is_no_second_release(left: str, tmp_path: Path) -> None:
    root = tree(tmp_path, relx() | {left: RELX_SCRIPT.replace("1.2.0", "1.3.0")})
    assert (inspect(root).name, inspect(root).boot_version) == ("web", "1.2.0")


def test_inspection_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    before = sorted(path.stat().st_mtime_ns for path in tree(tmp_path, relx()).rglob("*"))
    inspect(tmp_path, scratch=tmp_path / "scratch")
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*")) == before
