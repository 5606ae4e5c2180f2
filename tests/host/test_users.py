"""Users and groups, by the real name service."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys

import pytest

from relctld.host.users import UnknownUserError, look_up, name_of
from tests.host.seam import need_root

pytestmark = pytest.mark.host


def test_nobody_said_is_ourselves() -> None:
    me = pwd.getpwuid(os.geteuid())
    found = look_up(None, None)
    assert (found.uid, found.gid, found.name, found.home) == (me.pw_uid, me.pw_gid, me.pw_name, me.pw_dir)
    assert found.groups == tuple(os.getgroups())


def test_another_user_comes_with_its_groups_alone() -> None:
    found = look_up("daemon", None)
    entry = pwd.getpwnam("daemon")
    assert (found.uid, found.gid, found.home, found.shell) == (entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell)
    assert found.groups == tuple(os.getgrouplist("daemon", entry.pw_gid))
    assert 0 not in found.groups


def test_a_group_replaces_the_users_own() -> None:
    found = look_up("daemon", "adm")
    assert found.gid == 4
    assert 4 in found.groups
    assert look_up(None, "adm").gid == 4
    assert look_up(None, "adm").uid == os.geteuid()


@pytest.mark.parametrize(
    ("user", "group", "why"),
    [
        ("no-such-user", None, "user no-such-user does not exist"),
        ("daemon", "no-such-group", "group no-such-group does not exist"),
        ("1", None, "user 1 does not exist"),
        ("a\0b", None, "does not exist"),
    ],
)
def test_who_does_not_exist_is_named(user: str, group: str | None, why: str) -> None:
    with pytest.raises(UnknownUserError, match=why):
        look_up(user, group)


def test_names() -> None:
    assert name_of(0) == "root"
    assert name_of(4_000_000_000) == "4000000000"


def test_in_a_container_we_may_have_no_name() -> None:
    need_root("another user")
    code = "from relctld.host.users import look_up; print(look_up(None, None))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"HOME": "/app"}, stdout=subprocess.PIPE, text=True, check=True, user=54321, group=54321, extra_groups=[],
    )  # fmt: skip
    expected = "Identity(uid=54321, gid=54321, groups=(), name='54321', home='/app', shell='/bin/sh')\n"
    assert done.stdout == expected
