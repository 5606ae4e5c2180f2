"""Where the cookie of a node is found, and what is said where it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relctld.beam.dist.arguments import living, values_of
from relctld.beam.dist.cookies import CookieError, Found, Places, find
from relctld.beam.dist.handshake import Cookie
from relctld.core.spec import Flavour
from tests.waiting import wait_until

OWN = "relctld@h"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def look(
    root: Path, flags: str = "", env: dict[str, str] | None = None, flavour: Flavour = Flavour.MIX,
    home: Path | None = None, cookie_file: Path | None = None,
) -> Found:  # fmt: skip
    return find("web@h", Places(root, flavour, OWN, flags.split(), env or {}, home, cookie_file))


def test_what_the_vm_takes_first_counts(tmp_path: Path) -> None:
    home, mine = tmp_path / "home", write(tmp_path / "mine", "CONFIGURED\n")
    xdg = write(home / ".config" / "erlang" / ".erlang.cookie", "XDG")
    in_home = write(home / ".erlang.cookie", "HOME\n")
    generated = write(tmp_path / "releases" / "COOKIE", "MIX")
    env = {"RELEASE_COOKIE": "ENV", "HOME": str(home)}
    flags = f"-setcookie FLAG -setcookie {OWN} OURS -setcookie web@h OTHER"

    assert look(tmp_path, flags, env, cookie_file=mine) == Found(Cookie("CONFIGURED"), str(mine))
    assert look(tmp_path, flags, env) == Found(Cookie("OURS"), f"-setcookie {OWN}")
    assert look(tmp_path, "-x -setcookie FLAG +K", env) == Found(Cookie("FLAG"), "-setcookie")
    assert look(tmp_path, "-x", env) == Found(Cookie("ENV"), "RELEASE_COOKIE")
    del env["RELEASE_COOKIE"]
    assert look(tmp_path, "", env) == Found(Cookie("MIX"), str(generated))
    generated.unlink()
    assert look(tmp_path, "", env) == Found(Cookie("HOME"), str(in_home))
    assert look(tmp_path, f"-home {home}") == look(tmp_path, home=home) == look(tmp_path, "", env)
    in_home.unlink()
    assert look(tmp_path, "", env) == Found(Cookie("XDG"), str(xdg))
    elsewhere = write(tmp_path / "xdg" / "erlang" / ".erlang.cookie", "ELSEWHERE\r\n \n")
    env["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    assert look(tmp_path, "", env) == Found(Cookie("ELSEWHERE"), str(elsewhere))


def test_each_flavour_has_its_own_variable(tmp_path: Path) -> None:
    both = {"RELEASE_COOKIE": "MIX", "RELX_COOKIE": "RELX"}
    assert look(tmp_path, env=both, flavour=Flavour.RELX).cookie == Cookie("RELX")
    assert look(tmp_path, env=both, flavour=Flavour.MIX).cookie == Cookie("MIX")
    for flavour in (Flavour.DISTILLERY, Flavour.PLAIN):
        with pytest.raises(CookieError):
            look(tmp_path, env=both, flavour=flavour)


def test_a_cookie_that_is_given_twice_does_not_count_as_in_the_vm(tmp_path: Path) -> None:
    write(tmp_path / "releases" / "COOKIE", "MIX")
    home = write(tmp_path / ".erlang.cookie", "HOME").parent
    assert look(tmp_path, "-setcookie A -setcookie B", {"RELEASE_COOKIE": "A"}, home=home).cookie == Cookie("HOME")
    assert look(tmp_path, f"-setcookie A -setcookie {OWN} B -setcookie {OWN} C").cookie == Cookie("A")


def test_an_error_names_each_place(tmp_path: Path) -> None:
    link, fifo, home = tmp_path / "link", tmp_path / "releases" / "COOKIE", tmp_path / "home"
    link.symlink_to(write(tmp_path / "secret", "SECRET"))
    fifo.parent.mkdir()
    os.mkfifo(fifo)
    write(home / ".erlang.cookie", "\n")
    with pytest.raises(CookieError) as caught:
        look(tmp_path, "-x", home=home)
    assert str(caught.value) == (
        "cannot find the cookie of web@h: no -setcookie among its flags; RELEASE_COOKIE is not set; "
        f"{fifo}: not a regular file; {home}/.erlang.cookie is empty; "
        f"{home}/.config/erlang/.erlang.cookie: no such file or directory"
    )
    with pytest.raises(CookieError) as caught:
        look(tmp_path, "-setcookie FLAG", cookie_file=link)
    assert str(caught.value) == f"cannot find the cookie of web@h: {link}: too many levels of symbolic links"


def test_an_unusable_cookie_is_named_but_not_shown(tmp_path: Path) -> None:
    long = "s3cret" * 50
    with pytest.raises(CookieError, match="cannot take the cookie of web@h from -setcookie: ") as caught:
        look(tmp_path, f"-setcookie {long}")
    assert "s3cret" not in str(caught.value)


def test_values_of_a_flag() -> None:
    line = "beam.smp -- -root /r -setcookie a b -x -setcookie +K -setcookie c -- d -extra -setcookie e"
    assert values_of(line.split(), "-setcookie") == [["a", "b"], [], ["c"]]


@given(st.lists(st.sampled_from(["-setcookie", "-home", OWN, "a", "", "-extra", "é", "\udcff", "x" * 300])))
def test_no_flags_surprise(flags: list[str]) -> None:
    try:
        find("web@h", Places(Path("/nonexistent"), Flavour.PLAIN, OWN, flags))
    except CookieError:
        return


def test_the_arguments_of_a_living_process() -> None:
    code = "import sys; sys.stdin.read()"
    env = {"RELEASE_COOKIE": "a=b", "EMPTY": ""}
    argv = [sys.executable, "-c", code, "-setcookie", "\xe9", ""]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, env=env) as process:
        wait_until(lambda: living(process.pid)[0][1:2] == ["-c"], what="the exec")
        flags, found = living(process.pid)
        assert flags == argv
        assert {key: found[key] for key in env} == env
        process.communicate()
    assert living(process.pid) == ([], {})
