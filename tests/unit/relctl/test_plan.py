"""The plan of an upgrade and the list of versions, for people."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relctl.phases import Phases
from relctl.plan import plan_lines, version_lines

PLAN: dict[str, Any] = {
    "from": "1.0.0",
    "to": "1.1.0",
    "erts": "13.1.5",
    "restarts_emulator": False,
    "way_back": "reinstall",
    "applications": {"added": {"extra": "1"}, "changed": {"web": ["1.0.0", "1.1.0"]}, "removed": {"old": "2"}},
    "modules": {
        "added": ["web_new"],
        "changed": ["web_srv", "Elixir.Web.Server"],
        "removed": [],
        "native": ["web_nif"],
        "forgotten": [f"web_{n}" for n in range(10)],
        "protocols": ["Elixir.Shown"],
    },
    "instructions": ["suspend the processes of web_srv", "load Elixir.Web.Server, killing processes"],
    "processes": {
        "suspended": 9,
        "named": [{"name": "web_srv", "modules": ["web_srv"], "busy": True}]
        + [{"name": f"<0.{n}.0>", "modules": [], "busy": False} for n in range(8)],
        "killed": [{"name": "'Elixir.Web.Old'", "module": "Elixir.Web.Server"}],
        "staying": [{"name": "<0.9.0>", "module": "web_srv"}],
        "in_the_way": [{"name": "<0.8.0>", "module": "web_app"}],
    },
    "configuration": [
        {"application": "web", "key": "limit", "before": "10", "after": "20"},
        {"application": "web", "key": "new", "before": None, "after": '"x"'},
        {"application": "web", "key": "legacy", "before": "true", "after": None},
        {"application": "web", "key": "token", "before": "***", "after": "***"},
    ],
    "next_start": ["vm.args", "env.sh"],
    "disk_bytes": 188_000,
    "files": 17,
}
LINES = """\
web: 1.0.0 to 1.1.0
  applications  web 1.0.0 to 1.1.0, + extra 1, - old 2
  modules       2 changed, 1 added, 1 protocol consolidated anew
  not loaded    changed on disk, and the relup does not load them: web_0, web_1, web_2, web_3, web_4, web_5, web_6, \
web_7 and 2 more
  native code   runs when they are loaded: web_nif
  processes     9 suspended for a moment: web_srv (busy), <0.0.0>, <0.1.0>, <0.2.0>, <0.3.0>, <0.4.0>, <0.5.0>, \
<0.6.0> and 1 more
  killed        Web.Old (old Web.Server)
  killed unless they leave what is replaced: <0.9.0> (web_srv)
  in the way    it fails while these are in old code: <0.8.0> (old web_app)
  next start    reads others than the VM was started with: vm.args, env.sh
  disk          17 files, 188kB
  way back      1.0.0 installed again, else a restart of the VM
  configuration
      web limit: 10 to 20
    + web new: "x"
    - web legacy: true
      web token: ***, changed
  instructions
    suspend the processes of web_srv
    load Web.Server, killing processes
"""
TEXTS = st.sampled_from(["", "soaking", "a, b: c", "Elixir.", "\x1b[2J", "ünï\ud800"])
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)


def test_a_plan_by_subject() -> None:
    assert plan_lines("web", PLAN) == LINES.splitlines()


@pytest.mark.parametrize("width", [80, 40, 10])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    lines = plan_lines("web", PLAN, width)
    assert max(map(len, lines)) <= max(width, 20)
    assert "".join(" ".join(lines).split()) == "".join(LINES.split())


def test_before_an_upgrade_the_first_instructions_are_enough() -> None:
    many = PLAN | {"instructions": [f"step {n}" for n in range(40)]}
    assert plan_lines("web", many, brief=True)[-2:] == ["    step 10", "    and 29 more: --plan shows all"]
    assert plan_lines("web", many)[-1] == "    step 39"


def test_of_a_long_list_of_modules_only_the_first_are_named() -> None:
    step = f"read the new code of web 2: {', '.join(f'm{n}' for n in range(100))}"
    [*_, last] = plan_lines("web", PLAN | {"instructions": [step]})
    assert last == "    read the new code of web 2: m0, m1, m2, m3, m4, m5, m6, m7 and 92 more"


def test_a_relup_that_restarts_the_emulator() -> None:
    again = {**PLAN, "restarts_emulator": True, "erts_before": "13.1.5", "erts": "16.4"}
    [line] = [line for line in plan_lines("web", again) if line.startswith("  emulator")]
    assert line == (
        "  emulator      restarts, from ERTS 13.1.5 to 16.4: what its processes hold and its connections are lost"
    )
    [line] = [line for line in plan_lines("web", {**again, "erts": "13.1.5"}) if line.startswith("  emulator")]
    assert "restarts, with ERTS 13.1.5: " in line


def test_a_plan_without_a_way_down() -> None:
    assert "  way back      a restart of the VM" in plan_lines("web", PLAN | {"way_back": "restart"})


def test_nothing_drives_the_terminal() -> None:
    text = "\n".join(plan_lines("web", PLAN | {"instructions": ["\x1b[2J"], "from": "\x1b"}))
    assert "\x1b" not in text


@given(st.dictionaries(st.sampled_from([*PLAN, "more"]), ANYTHING), st.one_of(st.none(), st.integers(1, 200)))
def test_any_plan_has_lines(plan: dict[str, Any], width: int | None) -> None:
    assert plan_lines("web", plan, width)


@pytest.mark.parametrize("part", ["applications", "modules", "processes"])
@given(inner=ANYTHING)
def test_any_part_of_a_plan_has_lines(part: str, inner: Any) -> None:
    assert plan_lines("web", {part: dict.fromkeys(["added", "changed", "removed", "named", "suspended"], inner)}, 80)


def test_versions_are_a_table() -> None:
    found = [
        {"version": "1.0.0", "status": "old", "erts": "13.1.5", "running": False, "boots": False, "error": None},
        {"version": "1.10.0-rc1", "status": "permanent", "erts": "13.1.5", "running": True, "boots": True},
        {"version": "2", "status": "unpacked", "erts": None, "error": "its .rel is damaged"},
    ]
    assert version_lines(found) == [
        "VERSION     STATUS     ERTS",
        "1.0.0       old        13.1.5",
        "1.10.0-rc1  permanent  13.1.5  runs, boots",
        "2           unpacked   -       its .rel is damaged",
    ]
    assert version_lines([]) == ["VERSION  STATUS  ERTS"]


@given(st.lists(ANYTHING, max_size=4))
def test_any_versions_are_a_table(versions: list[Any]) -> None:
    assert version_lines(versions)[0].startswith("VERSION")


class Said:
    """Stands where the output stands."""

    json = False

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def paint(self, text: str, *_: str) -> str:
        return text

    def progress(self, text: str) -> None:
        self.lines.append(text)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["phase", "why", "plan", "step", "bytes", "of"]), ANYTHING, max_size=4),
        max_size=6,
    )
)
def test_any_word_of_the_daemon_is_heard(words: list[dict[str, Any]]) -> None:
    phases = Phases("upgrade", Said())  # type: ignore[arg-type]
    for word in words:
        phases.hear(word)
        phases.tick()
    phases.end()
