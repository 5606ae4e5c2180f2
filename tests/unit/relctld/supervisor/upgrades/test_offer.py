"""The plan as an object."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relctld.beam.handler.replies import Process, Processes
from relctld.beam.package.judge import judge
from relctld.beam.package.tree import read_tree
from relctld.supervisor.upgrades.offer import plan_object
from tests.packages import MACHINE, Version, contents, install, pack

PROCESSES = Processes(
    2,
    (Process("web_srv", ("web_srv",), busy=True),),
    killed=(("<0.9.0>", "web_app"),),
    in_the_way=(("<0.8.0>", "web_srv"),),
    staying=(("<0.7.0>", "web_app"),),
)


@pytest.mark.parametrize(("back", "way"), [(True, "reinstall"), (False, "restart")])
def test_all_of_a_plan(tmp_path: Path, back: bool, way: str) -> None:
    new = Version("1.1.0")
    new.files["releases/1.1.0/vm.args"] = b"-name other\n"
    if not back:
        new.relup(new.script("1.0.0"))
    tree = read_tree(install(tmp_path / "web", Version("1.0.0", since=None)))
    found = contents(pack(tmp_path / "web.tar.gz", new.files))
    plan = plan_object(judge(found, tree, "1.0.0", tree.name, tree.flavour, MACHINE), PROCESSES)
    assert json.loads(json.dumps(plan)) == plan
    assert (plan.pop("disk_bytes") > 0, plan.pop("files") > 3, len(plan.pop("instructions"))) == (True, True, 7)
    assert plan == {
        "from": "1.0.0",
        "to": "1.1.0",
        "erts": "13.1.5",
        "restarts_emulator": False,
        "erts_before": "13.1.5",
        "way_back": way,
        "applications": {"added": {}, "changed": {"web": ["1.0.0", "1.1.0"]}, "removed": {}},
        "modules": {
            "added": [],
            "changed": ["web_app", "web_srv"],
            "removed": [],
            "native": [],
            "forgotten": [],
            "protocols": [],
        },
        "processes": {
            "suspended": 2,
            "named": [{"name": "web_srv", "modules": ["web_srv"], "busy": True}],
            "killed": [{"name": "<0.9.0>", "module": "web_app"}],
            "in_the_way": [{"name": "<0.8.0>", "module": "web_srv"}],
            "staying": [{"name": "<0.7.0>", "module": "web_app"}],
        },
        "next_start": ["vm.args"],
    }
