"""Real releases for tests: each test gets its own copy and its own epmd port.

`rapp_root`, `mapp_root`, `papp_root`: a private copy, readable by every user, gone after the test.
`dapp_root`: the same, laid out as Distillery would.
`host`: a relctld of the test's own, not started yet; all that its releases started is ended after the test.
`stand`: rapp, then mapp, at 1.0.0 under a relctld; a module's tests share it, each finds it as it was at first.
`epmd_port`: give it to a release as ERL_EPMD_PORT; the epmd that appears there is ended after the test.
Without Erlang these tests are skipped, but fail where the full run was asked for (RELCTL_TEST_FULL=1, CI=true).
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests import epmds
from tests.asked import FULL, LONG
from tests.beam.supervised import Host
from tests.beam.upgrading import Stand, standing
from tests.releases import build, distillery
from tests.running import Relctld

collect_ignore = [] if LONG else ["test_packages.py"]
"""That proves the samples without relctl; with it the tests of upgrades need them to be as they say."""


ONE_ASKED = {"test_upgrade_asked": "rapp", "test_upgrade_processes": "rapp"}
"""Where the two samples hardly differ, and each test costs seconds: one of them, but for the long run."""

ASKED_LATER = {
    "test_deploy": ("test_a_release_that_cannot_boot_is_switched", "test_what_operators_keep_in_the_root_stays"),
    "test_deploy_killed": ("test_undecided_and_both_dead_the_old_is_booted",),
    "test_upgrade_hung": ("test_whenever_relctld_dies_in_that_launch_the_next_one_goes_by_what_it_went_by",),
    "test_heart": (
        "test_a_node_that_hangs_is_killed_by_it_and_started_by_relctld",
        "test_upgrades_and_restarts_from_inside",
    ),
    "test_upgrade_config": (
        "test_who_left_the_config_and_died_in_the_soak_is_the_old_one",
        "test_another_root_is_for_the_next_start",
    ),
    "test_upgrade_emulator": (
        "test_there_and_back",
        "test_a_new_emulator_that_does_not_boot_is_followed_by_the_old_one",
        "test_what_chooses_the_boot_itself_is_refused",
        "test_a_bad_one_comes_back_through_every_step",
    ),
}
"""What others of the same module nearly ask: only in the long run."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only the long run asks."""
    left = [] if LONG else [item for item in items if _is_for_the_long_run(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def _is_for_the_long_run(item: pytest.Item) -> bool:
    if getattr(item, "originalname", "") in ASKED_LATER.get(Path(item.path).stem, ()):
        return True
    params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    asked = ONE_ASKED.get(Path(item.path).stem)
    return asked is not None and params.get("shared_stand", asked) != asked


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A directory that any user may enter, which pytest's tmp_path is not."""
    path = Path(tempfile.mkdtemp(prefix="relctl-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def rapp_root(public_path: Path) -> Path:
    """A relx release, version 1.0.0."""
    return _copy("rapp", public_path)


@pytest.fixture
def mapp_root(public_path: Path) -> Path:
    """A mix release, version 1.0.0."""
    return _copy("mapp", public_path)


@pytest.fixture
def papp_root(public_path: Path) -> Path:
    """A target system made with systools alone, version 1.0.0."""
    return _copy("papp", public_path)


@pytest.fixture
def dapp_root(papp_root: Path, public_path: Path) -> Path:
    """Distillery's layout, version 1.0.0."""
    return distillery.lay_out(papp_root, public_path / "dapp")


@pytest.fixture
def host(public_path: Path, epmd_port: int) -> Iterator[Host]:
    """A relctld with a directory that any user may enter."""
    folder = public_path / "relctl"
    folder.mkdir()
    host = Host(Relctld(folder, {}), public_path, epmd_port)
    yield host
    host.daemon.close()
    for process in host.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.fixture(scope="module", params=["rapp", "mapp"])
def shared_stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    """One for all tests of a module; name one sample with `parametrize(…, indirect=True)`."""
    _built(str(request.param))
    with standing(str(request.param)) as stand:
        yield stand


@pytest.fixture
def stand(shared_stand: Stand) -> Iterator[Stand]:
    """The shared one, given back as it was."""
    yield shared_stand
    shared_stand.restore()


@pytest.fixture(scope="session")
def built() -> Callable[[str], Path]:
    """Builds a sample at 1.0.0, where that can be done."""
    return _built


@pytest.fixture
def epmd_port() -> Iterator[int]:
    """A port below the ephemeral range that nobody listens on."""
    with epmds.private_port() as port:
        yield port


def _copy(name: str, to: Path) -> Path:
    return build.place(_built(name), to / name)


def _built(name: str) -> Path:
    try:
        return build.build(name)
    except build.MissingToolError as error:
        if FULL:
            raise
        pytest.skip(str(error))
