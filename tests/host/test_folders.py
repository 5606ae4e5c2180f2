"""Directories of a release's user: through which links they are found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from relctld.host.folders import led_to, own
from tests.host.seam import NOBODY, need_root, public_folder

pytestmark = pytest.mark.host


@pytest.fixture
def bed() -> Iterator[Path]:
    """`roots` and `users`, two directories of these; in each `empty`, which is its owner's too."""
    need_root("another user")
    with public_folder() as folder:
        for name, uid in (("roots", 0), ("users", NOBODY.uid)):
            for path in (folder / name, folder / name / "empty"):
                path.mkdir(mode=0o755)
                os.chown(path, uid, uid)
        yield folder


def test_what_is_no_link_is_itself(bed: Path) -> None:
    for path in (bed / "roots" / "empty", bed / "missing", bed / "missing" / "below"):
        assert led_to(path, NOBODY) == path


@pytest.mark.parametrize("target", ["roots/empty", "users/empty", "roots/missing"])
def test_links_that_root_put_there_are_followed(bed: Path, target: str) -> None:
    (bed / "roots" / "link").symlink_to(bed / target)
    (bed / "roots" / "twice").symlink_to("link")
    found = led_to(bed / "roots" / "twice", NOBODY)
    assert found == bed / target
    own(found, NOBODY, 0o755)
    assert (bed / target).stat().st_uid == NOBODY.uid


def test_links_that_others_may_have_put_there_lead_to_what_is_the_users_already(bed: Path) -> None:
    (bed / "users" / "link").symlink_to(bed / "users" / "empty")
    assert led_to(bed / "users" / "link", NOBODY) == bed / "users" / "empty"


@pytest.mark.parametrize("target", ["roots/empty", "roots/missing", "roots/link"])
def test_links_that_others_may_have_put_there_lead_to_nobody_elses(bed: Path, target: str) -> None:
    (bed / "roots" / "link").symlink_to("empty")
    (bed / "users" / "link").symlink_to(bed / target)
    with pytest.raises(OSError, match="is a link that cannot be trusted: name the directory itself"):
        led_to(bed / "users" / "link", NOBODY)


def test_a_link_of_roots_that_others_led_us_to_leads_to_nothing_of_roots(bed: Path) -> None:
    (bed / "roots" / "link").symlink_to("empty")
    (bed / "users" / "app").symlink_to(bed / "roots")
    with pytest.raises(OSError, match="app, on the way to it, is a link that cannot be trusted"):
        led_to(bed / "users" / "app" / "link", NOBODY)


def test_a_link_to_a_third_ones_directory_is_refused(bed: Path) -> None:
    os.chown(bed / "users" / "empty", 1, 1)
    (bed / "roots" / "link").symlink_to(bed / "users" / "empty")
    with pytest.raises(OSError, match="or make it the release's user's"):
        led_to(bed / "roots" / "link", NOBODY)


@pytest.mark.parametrize("target", ["empty", "missing"])
def test_roots_links_are_not_reached_by_a_way_that_others_chose(bed: Path, target: str) -> None:
    (bed / "roots" / "link").symlink_to(target)
    (bed / "users" / "app").symlink_to(bed / "roots")
    with pytest.raises(OSError, match=r"users/app"):
        led_to(bed / "users" / "app" / "link", NOBODY)


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_no_link_of_others_is_followed_behind_one_of_roots(bed: Path, name: str) -> None:
    (bed / "users" / "app").symlink_to(bed / "roots")
    (bed / "roots" / "link").symlink_to(bed / "users" / "app")
    with pytest.raises(OSError, match="roots/link"):
        own(bed / "roots" / "link" / name, NOBODY, 0o755)
    assert (bed / "roots" / "empty").stat().st_uid == 0
    assert not (bed / "roots" / "missing").exists()


def test_a_way_may_lead_up_again_by_a_link_of_roots(bed: Path) -> None:
    (bed / "roots" / "link").symlink_to("../users/empty/..")
    own(bed / "roots" / "link" / "made", NOBODY, 0o750)
    assert (bed / "users" / "made").stat().st_uid == NOBODY.uid


def test_links_in_a_circle_lead_nowhere(bed: Path) -> None:
    (bed / "roots" / "link").symlink_to("link")
    with pytest.raises(OSError, match="leads nowhere"):
        led_to(bed / "roots" / "link", NOBODY)
