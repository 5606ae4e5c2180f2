"""What a launch takes: of what the files select, and of what no file selects."""

from __future__ import annotations

from pathlib import Path

from relctld.core.spec import ReleaseSpec
from relctld.supervisor.recipe import Candidate, Place, read_recipe
from tests.unit.relctld.beam.test_flavour import base, relx, tree

HYBRID = "__new_emulator__1.2.0"


def test_a_vm_is_said_to_be_of_the_version_whose_applications_it_runs(tmp_path: Path) -> None:
    script = relx()["bin/web"].replace("1.2.0", "1.3.0")
    spec = ReleaseSpec("web", tree(tmp_path / "web", {**base("1.3.0"), **relx(), "bin/web-1.3.0": script}))
    place = Place(tmp_path / "run", tmp_path / "log")
    for candidate, version in (
        (None, "1.2.0"),
        (Candidate("1.3.0"), "1.3.0"),
        (Candidate("1.3.0", laid=True, hybrid=HYBRID), "1.2.0"),
        (Candidate("1.3.0", laid=True), "1.3.0"),
    ):
        recipe = read_recipe(spec, place, {}, 1024, candidate)
        assert recipe.launched.version == version
        assert ("RELDIR" in recipe.env) == bool(candidate and candidate.laid)
