"""The configuration that a version would boot with, by real commands: how they are asked, and what they may answer."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from relctld.core.spec import Flavour
from relctld.host.command import Commands
from relctld.supervisor.upgrades import configuring
from relctld.supervisor.upgrades.configuring import ConfiguringError, Version, evaluate, is_evaluated
from tests.host.seam import NOBODY, OURSELVES, need_root, public_folder, script, with_reaper

pytestmark = pytest.mark.host

RELX = '#!/bin/sh\nsed "s/LIMIT/$LIMIT/" releases/1/sys.config.src > "$RELX_OUT_FILE_PATH/sys.config"\nexit 1\n'
MIX = """\
#!/bin/sh
[ "$1" = eval ] && [ "$RELEASE_VSN" = 1 ] && sed "s/LIMIT/$LIMIT/" "$RELCTL_CONFIG_IN" > "$RELCTL_CONFIG_OUT"
"""
PROVIDED = b"[{elixir, [{config_provider_init, x}]}, {web, [{limit, LIMIT}]}].\n"


class Bed:
    """A root with one version, and a folder for what is evaluated."""

    def __init__(self, folder: Path, flavour: Flavour) -> None:
        self.root, self.folder, self.home = folder / "web", folder / "scratch", folder
        (self.root / "releases/1").mkdir(parents=True)
        (self.root / "bin").mkdir()
        self.version = Version(
            self.root, flavour, "web", "1", {"PATH": "/usr/bin:/bin", "LIMIT": "7"}, OURSELVES, None, self.root
        )

    def config(self, data: bytes, name: str = "sys.config") -> None:
        (self.root / "releases/1" / name).write_bytes(data)

    def evaluate(self, version: Version | None = None) -> bytes:
        with ThreadPoolExecutor(2) as pool:
            return with_reaper(
                lambda reaper: evaluate(
                    version or self.version, self.folder, self.home, Commands(reaper, pool, 1024), pool
                )
            )


@pytest.fixture
def relx() -> Iterator[Bed]:
    with public_folder() as folder:
        bed = Bed(folder, Flavour.RELX)
        script(bed.root / "bin/web-1", RELX)
        bed.config(b"[{web, [{limit, LIMIT}]}].\n", "sys.config.src")
        yield bed


@pytest.fixture
def mix() -> Iterator[Bed]:
    with public_folder() as folder:
        bed = Bed(folder, Flavour.MIX)
        script(bed.root / "bin/web", MIX)
        bed.config(PROVIDED)
        yield bed


def test_relx_renders_by_the_script_of_the_version(relx: Bed) -> None:
    assert is_evaluated(relx.version)
    assert relx.evaluate() == b"[{web, [{limit, 7}]}].\n"
    assert not (relx.root / "releases/1/sys.config").exists(), "nothing of the tree is touched"


def test_mix_runs_the_providers_of_the_version(mix: Bed) -> None:
    assert is_evaluated(mix.version)
    assert mix.evaluate() == PROVIDED.replace(b"LIMIT", b"7")
    assert (mix.root / "releases/1/sys.config").read_bytes() == PROVIDED


def test_what_needs_no_evaluation_is_read_as_it_is(mix: Bed) -> None:
    mix.config(b"[{web, [{limit, 3}]}].\n")
    (mix.root / "bin/web").unlink()
    assert not is_evaluated(mix.version)
    assert mix.evaluate() == b"[{web, [{limit, 3}]}].\n"


@pytest.mark.parametrize(
    ("flavour", "name", "said"),
    [(Flavour.RELX, "RELX_CONFIG_PATH", ""), (Flavour.MIX, "RELEASE_SYS_CONFIG", ".config")],
)
def test_the_environment_may_name_another_file(tmp_path: Path, flavour: Flavour, name: str, said: str) -> None:
    bed = Bed(tmp_path, flavour)
    elsewhere = tmp_path / "etc" / "web.config"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b"[{web, [{limit, 9}]}].\n")
    version = replace(bed.version, env={**bed.version.env, name: str(elsewhere).removesuffix(said)})
    assert version.source == elsewhere
    assert is_evaluated(version), "release_handler would read another"
    assert bed.evaluate(version) == b"[{web, [{limit, 9}]}].\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("exit 3", "exit code 3"),
        ("echo 'ERROR! Config provider failed'; echo '** (RuntimeError) no DB_URL'; exit 1", r"\*\* \(RuntimeError\)"),
        (
            "echo '** (KeyError) key :url not found in: [password: \"x\"]'; exit 1",
            r"\*\* \(KeyError\), whose .* not shown",
        ),
        ("echo 'x ** (EXIT from #PID<0.98.0>) {:noproc, \"x\"}'; exit 1", r": \*\* \(EXIT\), whose .* not shown"),
        ("kill -9 $$", "killed by SIGKILL"),
        ("true", r"sys\.config is missing"),
        ("echo '[' > $RELCTL_CONFIG_OUT", "is no Erlang term"),
        ("echo 'web.' > $RELCTL_CONFIG_OUT", "no list of applications"),
        ("ln -s /etc/shadow $RELCTL_CONFIG_OUT", "symbolic link"),
        ("mkfifo $RELCTL_CONFIG_OUT", "not a regular file"),
    ],
)
def test_what_goes_wrong_is_said(mix: Bed, text: str, why: str) -> None:
    script(mix.root / "bin/web", f"#!/bin/sh\n{text}\n")
    with pytest.raises(ConfiguringError, match=why):
        mix.evaluate()


def test_what_an_earlier_evaluation_left_is_not_taken_for_the_result(mix: Bed) -> None:
    mix.evaluate()
    script(mix.root / "bin/web", "#!/bin/sh\nexit 0\n")
    with pytest.raises(ConfiguringError, match=r"sys\.config is missing"):
        mix.evaluate()


def test_a_script_that_is_missing_is_said(relx: Bed) -> None:
    (relx.root / "bin/web-1").unlink()
    with pytest.raises(ConfiguringError, match="bin/web-1 is missing"):
        relx.evaluate()


def test_one_that_hangs_is_ended(mix: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuring, "WITHIN", 0.2)
    script(mix.root / "bin/web", "#!/bin/sh\necho waiting for a database\nexec sleep 1000\n")
    with pytest.raises(ConfiguringError, match=r"not done within 0\.2 s: waiting for a database"):
        mix.evaluate()


def test_it_runs_and_is_read_as_the_user_of_the_release(mix: Bed) -> None:
    need_root("another user's commands")
    version = replace(mix.version, identity=NOBODY, switch=NOBODY)
    script(mix.root / "bin/web", f"{MIX}id -u > {mix.root}/who || id -u > $RELCTL_CONFIG_OUT.who\n")
    assert b"limit, 7" in mix.evaluate(version)
    assert (mix.folder / "sys.config.who").read_text() == f"{NOBODY.uid}\n"
    assert mix.folder.stat().st_mode & 0o777 == 0o700
