"""An evaluated configuration in the place of another, and out of it, whatever dies in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from relctld.core.spec import Flavour
from relctld.host import tree
from relctld.supervisor.upgrades import disk
from relctld.supervisor.upgrades.disk import Ground
from relctld.supervisor.upgrades.ledger import Luggage
from tests.host.dying import killed_at_each
from tests.packages import Version, install, listing

pytestmark = pytest.mark.host

OWN, EVALUATED = b"[{web, [{port, 80}]}].\n", b"[{web, [{port, 8080}]}].\n"


@pytest.mark.parametrize("own", [OWN, None], ids=["a file", "nothing"])
def test_the_configuration_that_was_there_comes_back_whatever_dies(tmp_path: Path, own: bytes | None) -> None:
    ground = Ground(Luggage(str(tmp_path), Flavour.RELX, "web"), {}, None)
    folder = tmp_path / "releases/1.0.0"
    folder.mkdir(parents=True)
    if own is not None:
        (folder / "sys.config").write_bytes(own)

    def is_as_before() -> bool:
        found = tree.read(tmp_path, "releases/1.0.0/sys.config", 1000)
        return found == own and len(listing(folder)) == (own is not None)

    deaths = 0
    for _ in killed_at_each(lambda: disk.swap_in(ground, "1.0.0", EVALUATED), "os.link", "open", "os.rename"):
        deaths += 1
        disk.put_back(ground, "1.0.0")
        assert is_as_before(), (deaths, listing(folder))
    assert deaths > 3
    assert (folder / "sys.config").read_bytes() == EVALUATED
    for _ in killed_at_each(lambda: disk.put_back(ground, "1.0.0"), "os.remove", "os.rename"):
        pass
    assert is_as_before(), listing(folder)


def test_what_boots_is_named_before_a_second_version_comes(tmp_path: Path) -> None:
    """A plain release boots its only version without start_erl.data, and none of two."""
    first, second = (plain(version) for version in ("1.0.0", "1.1.0"))
    install(tmp_path, first)
    ground = Ground(Luggage(str(tmp_path), Flavour.PLAIN, "web"), {}, None)
    for _ in killed_at_each(lambda: disk.choose_the_only(ground), "open", "os.rename"):
        assert ground.tree().boot_version == "1.0.0"
    install(tmp_path, second)
    assert ground.tree().boot_version == "1.0.0"


def plain(version: str) -> Version:
    """As systools packs it: no script, and no file that chooses a version."""
    found = Version(version)
    found.files = {path: data for path, data in found.files.items() if not path.startswith(("bin/", "releases/start"))}
    return found
