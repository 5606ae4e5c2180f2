"""The last good config."""

import os
import stat
from pathlib import Path

import pytest

from relctld.config import ConfigError, keep_good, load_good, load_or_last_good
from relctld.config.good import NAME
from tests.unit.relctld.config.building import ENVIRON, GOOD, Files


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def keep(files: Files, state: Path, text: str = GOOD) -> None:
    keep_good(files.load(text), state)


def why(state: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_good(state, uid=0, environ=ENVIRON)
    return str(caught.value).replace(str(state), "STATE")


def test_what_was_kept_is_read_back_whole(files: Files, state: Path) -> None:
    files.write('[release.more]\nroot = "/opt/more"', "releases.d/more.toml")
    config = files.load(GOOD)
    keep_good(config, state)
    files.main.unlink()
    again = load_good(state, uid=0, environ=ENVIRON)
    assert again == config
    assert again.sources == config.sources


def test_the_copy_is_its_owners_alone_and_nothing_else_is_left(files: Files, state: Path) -> None:
    before = os.umask(0)
    try:
        keep(files, state)
        keep(files, state)
    finally:
        os.umask(before)
    assert os.listdir(state) == [NAME]
    assert stat.S_IMODE((state / NAME).stat().st_mode) == 0o600


def test_what_cannot_be_kept_leaves_the_old_copy(files: Files, state: Path) -> None:
    (state / NAME).mkdir()
    with pytest.raises(OSError, match="directory"):
        keep(files, state)
    assert os.listdir(state) == [NAME]


def test_a_copy_that_cannot_be_used(files: Files, state: Path) -> None:
    assert why(state) == f"cannot use the last good config STATE/{NAME}: none was ever kept"
    for text in (
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"v": 2, "files": []}',
        '{"v": 1, "files": []}',
        '{"v": 1, "files": [1]}',
    ):
        (state / NAME).write_text(text)
        assert why(state) == f"cannot use the last good config STATE/{NAME}: it is damaged"
    (state / NAME).unlink()
    (state / NAME).symlink_to("/etc/passwd")
    assert why(state) == f"cannot use the last good config STATE/{NAME}: too many levels of symbolic links"


def test_a_copy_is_judged_anew(files: Files, state: Path) -> None:
    keep(files, state)
    text = (state / NAME).read_text()
    (state / NAME).write_text(text.replace("limits", "limitz"))
    assert why(state) == f'cannot use {files.main}: [release.web] limitz: unknown key, did you mean "limits"?'


def test_a_good_config_is_used_as_it_is(files: Files) -> None:
    files.write(GOOD)
    config, error = load_or_last_good(files.main, uid=0, environ=ENVIRON)
    assert (len(config.releases), error) == (2, None)


@pytest.mark.parametrize("broken", ["nonsense", "[daemon]\nx = 1", '[daemon]\nstate_dir = "/elsewhere"\n='])
def test_a_bad_config_gives_way_to_the_last_good_one(files: Files, state: Path, broken: str) -> None:
    keep(files, state)
    files.write(broken)
    config, error = load_or_last_good(files.main, uid=0, environ=ENVIRON | {"STATE_DIRECTORY": str(state)})
    assert [spec.name for spec in config.releases] == ["web", "api"]
    assert error is not None
    assert error.problems[0].startswith(f"cannot use {files.main}: ")


def test_a_broken_file_still_says_where_the_state_is(files: Files, state: Path) -> None:
    good = f'[daemon]\n  state_dir = "{state}"  # here\n'
    keep(files, state, good)
    files.write(good + "nonsense")
    config, error = load_or_last_good(files.main, uid=0, environ=ENVIRON)
    assert (config.state_dir, error is None) == (state, False)


def test_a_missing_main_file_gives_way_too(files: Files, state: Path) -> None:
    keep(files, state)
    files.main.unlink()
    config, error = load_or_last_good(files.main, uid=0, environ=ENVIRON | {"STATE_DIRECTORY": str(state)})
    assert (len(config.releases), error is None) == (2, False)


def test_without_a_good_one_the_bad_one_is_what_is_told(files: Files, state: Path) -> None:
    files.write("nonsense")
    with pytest.raises(ConfigError, match="not TOML"):
        load_or_last_good(files.main, uid=0, environ=ENVIRON | {"STATE_DIRECTORY": str(state)})


def test_another_daemons_copy_is_not_used(files: Files, state: Path) -> None:
    keep(files, state)
    other = files.write("nonsense", "other.toml")
    with pytest.raises(ConfigError, match="not TOML"):
        load_or_last_good(other, uid=0, environ=ENVIRON | {"STATE_DIRECTORY": str(state)})
