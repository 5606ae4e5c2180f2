"""What becomes of a changed module, asked of modules that the compiler made: the instruction, or why there is none."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.relups.builds import opened
from relctld.beam.relups.relup import Made, UndecidedError, Wishes, make
from relctld.beam.relups.rules import Change
from relctld.beam.term.consult import consult
from relctld.beam.term.written import written
from tests import otps
from tests.packages import Version, application, install

pytestmark = pytest.mark.beam

SERVER = "-behaviour(gen_server).\n-export([init/1, handle_call/3, handle_cast/2]).\n"
CALLS = "handle_call(_, _, S) -> {reply, S, S}.\nhandle_cast(_, S) -> {noreply, S}.\n"
INIT = "-export([get/1]).\ninit(_) -> {ok, #state{}}.\nget(#state{a = A}) -> A.\n"
KEEPS = SERVER + "-record(state, {a, b}).\n" + INIT + CALLS
GROWS = SERVER + "-record(state, {a, b, c}).\n" + INIT + CALLS
TURNS = SERVER + "-record(state, {b, a}).\n" + INIT + CALLS
PASSES = "-export([code_change/3]).\ncode_change(_, S, _) -> {ok, S}.\n"
MIGRATES = "-export([code_change/3]).\ncode_change(_, S, _) -> {ok, erlang:append_element(S, new)}.\n"
BOTH_WAYS = MIGRATES.replace("_change(_", "_change({down, _}, S, _) -> {ok, setelement(1, S, S)};\ncode_change(_")
MORE = "-export([g/0]).\ng() -> {message, 1}.\n"
SUPERVISOR = "-behaviour(supervisor).\n-export([init/1]).\ninit(_) -> {ok, {{one_for_one, ~, 5}, []}}.\n"
CHILD = "{~, {~, start, []}, permanent, 1, worker, [~]}"
CHILDREN = SUPERVISOR.replace("[]}}", "[~]}}").replace("~, 5", "1, 5")
STATEM = """-behaviour(gen_statem).
-export([init/1, callback_mode/0, on/3]).
init(_) -> {ok, on, 1}.
callback_mode() -> state_functions.
on(_, _, D) -> {keep_state, D}.
"""
CHANGED = """-export([code_change/4]).
code_change({down, _}, S, {D}, _) -> {ok, S, D};
code_change(_, S, D, _) -> {ok, S, {D}}.
"""
PLAIN, OTHER = ("-export([f/0]).\nf() -> ~.\n".replace("~", each) for each in "12")
LOOP = "-export([start/0]).\nstart() -> spawn(fun loop/0).\nloop() -> receive ~ -> ok; _ -> loop() end.\n"

PAIRS: Mapping[str, tuple[str | None, str | None]] = {
    "plain": (PLAIN, OTHER),
    "same": (PLAIN, "\n\n%% elsewhere\n" + PLAIN),
    "comes": (None, PLAIN.replace("1", "calls:f()")),
    "goes": (PLAIN, None),
    "calls": (PLAIN.replace("1", "plain:f()"), PLAIN.replace("1", "{plain:f(), 2}")),
    "soft": (KEEPS, KEEPS + MORE),
    "passes": (KEEPS + PASSES, KEEPS + PASSES + MORE),
    "migrates": (KEEPS, GROWS + BOTH_WAYS),
    "sup": (SUPERVISOR.replace("~", "1"), SUPERVISOR.replace("~", "9")),
    "statem": (STATEM, STATEM + CHANGED),
}
"""Those that may be changed by rule: the sources before and after."""

DOUBTFUL: Mapping[str, tuple[str | None, str | None, str]] = {
    "record": (KEEPS, GROWS, "other tuples than before, {state,_,_}"),
    "passed": (KEEPS + PASSES, GROWS + PASSES, "{state,_,_,_}, and no code_change of its own (gen_server)"),
    "shape": (SERVER + "init(_) -> {ok, {v1, 1}}.\n" + CALLS, SERVER + "init(_) -> {ok, {v2, 1}}.\n" + CALLS, "{v1,_}"),
    "modes": (
        STATEM,
        STATEM.replace("state_functions", "[state_functions, state_enter]"),
        "its callback_mode is another",
    ),
    "upwards": (KEEPS, GROWS + MIGRATES, "its code_change knows no {down,_}"),
    "no_more": (KEEPS + MIGRATES, KEEPS, "its code_change is gone"),
    "behaviour": (KEEPS, PLAIN, "it was a gen_server, and is plain code"),
    "other": (KEEPS, SUPERVISOR.replace("~", "1"), "it was a gen_server, and is a supervisor"),
    "nif": (PLAIN, PLAIN.replace("1", "erlang:load_nif(a, 2)"), "native code"),
    "on_load": ("-on_load(f/0).\nf() -> ok.\n", "-on_load(f/0).\nf() -> ok.\n" + MORE, "native code"),
    "children": (
        CHILDREN.replace("~", CHILD.replace("~", "soft")),
        CHILDREN.replace("~", CHILD.replace("~", "soft") + "," + CHILD.replace("~", "statem")),
        "it starts children, and names statem in one version only",
    ),
    "process_goes": (KEEPS, None, "it is removed, and what runs it (gen_server) would be killed"),
    "process_comes": (None, KEEPS, "the way back takes it away, and what runs it (gen_server) would be killed"),
    "loops": (LOOP.replace("~", "stop"), LOOP.replace("~", "halt"), "wait for messages in its own code"),
    "nameless": (
        "-export([init/1]).\ninit(_) -> 1.\n",
        "-export([init/1]).\ninit(_) -> 2.\n",
        "which behaviour it has",
    ),
}
ELIXIR = """
defmodule Kept do
  defstruct [:id{0}]
end
defmodule Keeper do
  use GenServer
  def init(_), do: {{:ok, %Kept{{id: {1}}}}}
end
defmodule Passer do
  use GenServer
  def init(_), do: {{:ok, {1}}}
end
defmodule App do
  use Application
  def start(_, _), do: Supervisor.start_link([Passer{2}], strategy: :one_for_one)
end
defprotocol Shown do
  def shown({3})
end
"""
KEPT = {"debug_soft": (KEEPS, KEEPS + MORE), "debug_turned": (KEEPS, TURNS)}
"""Compiled with debug_info."""


class Compiled:
    """web 1.0.0 and 1.1.0, each with some of these modules."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._built = {version: self._compile(version, at) for at, version in enumerate(("1.0.0", "1.1.0"))}
        self._made = 0

    def _compile(self, version: str, at: int) -> dict[str, bytes]:
        found = {}
        for flags, sources in (([], {**PAIRS, **DOUBTFUL}), (["+debug_info"], KEPT)):
            folder = self.folder / f"{len(flags)}-{version}"
            folder.mkdir()
            for name, pair in sources.items():
                if (text := pair[at]) is not None:
                    lines = sorted(text.splitlines(), key=lambda line: not line.startswith("-"))
                    (folder / f"{name}.erl").write_text("\n".join([f"-module({name}).", *lines, ""]))
            command = ["erlc", *flags, *(path.name for path in sorted(folder.glob("*.erl")))]
            subprocess.run(command, cwd=folder, check=True, timeout=120)
            found |= {path.stem: path.read_bytes() for path in folder.glob("*.beam")}
        folder = self.folder / f"elixir-{version}"
        folder.mkdir()
        words = (("", "1", "", "it"), (", :more", "2", ", Keeper", "it, how"))[at]
        (folder / "all.ex").write_text(ELIXIR.format(*words))
        subprocess.run(["elixirc", "all.ex"], cwd=folder, check=True, timeout=120)
        return found | {path.stem: path.read_bytes() for path in folder.glob("*.beam")}

    def make(self, *names: str, wishes: Wishes | None = None, appup: str = "") -> Made:
        """What is made where the application has these modules."""
        self._made += 1
        roots = []
        for version, modules in self._built.items():
            build = Version(version, since=None)
            there = {name: modules[name] for name in names if name in modules}
            build.files = {path: data for path, data in build.files.items() if not path.startswith(f"{build.ebin}/")}
            build.files |= {f"{build.ebin}/{name}.beam": data for name, data in there.items()}
            build.files[f"{build.ebin}/web.app"] = application("web", version, list(there))
            if appup and version == "1.1.0":
                build.files[f"{build.ebin}/web.appup"] = appup.encode()
            roots.append(install(self.folder / f"{self._made}-{version}-built", build))
        with opened(roots[0]) as old, opened(roots[1]) as new:
            return make(old, new, wishes or Wishes())


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    otps.erl("25")
    return Compiled(tmp_path_factory.mktemp("compiled"))


def appup(made: Made) -> tuple[list[str], list[str]]:
    """The instructions of web's appup, up and down, as text."""
    [(_, [(_, up)], [(_, down)])] = consult(made.files["lib/web-1.1.0/ebin/web.appup"].decode())  # type: ignore[misc]
    return list(map(written, up)), list(map(written, down))


def test_the_usual_instructions_each_behind_what_it_calls(compiled: Compiled) -> None:
    up, down = appup(compiled.make(*PAIRS))
    assert sorted(up) == sorted(
        [
            "{add_module,comes,[calls]}",
            "{load_module,plain}",
            "{load_module,calls,[plain]}",
            "{update,soft,soft}",
            "{update,passes,{advanced,[]}}",
            "{update,migrates,{advanced,[]}}",
            "{update,statem,{advanced,[]}}",
            "{update,sup,supervisor}",
            "{delete_module,goes}",
        ]
    )
    assert up.index("{load_module,plain}") < up.index("{load_module,calls,[plain]}")
    assert up[-2:] == ["{update,sup,supervisor}", "{delete_module,goes}"]
    assert down[-2:] == ["{update,sup,supervisor}", "{delete_module,comes}"]
    assert "{add_module,goes}" in down


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_is_not_decided(compiled: Compiled, name: str) -> None:
    with pytest.raises(UndecidedError) as raised:
        compiled.make(name, "soft", "statem")
    assert [doubt.module for doubt in raised.value.doubts] == [name]
    assert DOUBTFUL[name][2] in raised.value.doubts[0].why
    assert "--restart web" in raised.value.hint


@pytest.mark.parametrize("name", DOUBTFUL)
def test_an_operator_decides(compiled: Compiled, name: str) -> None:
    before, after, _ = DOUBTFUL[name]
    change = Change.ADD if before is None else Change.DELETE if after is None else Change.LOAD
    made = compiled.make(name, "soft", "statem", wishes=Wishes({name: change}))
    word = {"add": "add_module", "delete": "delete_module", "load": "load_module"}[change]
    assert f"{{{word},{name}}}" in appup(made)[0]


def test_what_an_operator_cannot_decide(compiled: Compiled) -> None:
    unfit = [Wishes({"plain": Change.DELETE}), Wishes({"nowhere": Change.LOAD}), Wishes({"plain": Change.UPDATE})]
    unfit += [Wishes(restarts=frozenset({name})) for name in ("nowhere", "kernel")]
    for wishes in unfit:
        with pytest.raises(PackageError) as raised:
            compiled.make("plain", wishes=wishes)
        assert raised.value.kind is Kind.BAD_RELUP


def test_no_way_back_is_wanted(compiled: Compiled) -> None:
    made = compiled.make("upwards", "process_comes", wishes=Wishes(up_only=True))
    assert made.down is None
    [(_, [(_, up)], downs)] = consult(made.files["lib/web-1.1.0/ebin/web.appup"].decode())  # type: ignore[misc]
    assert (list(map(written, up)), downs) == (["{add_module,process_comes}", "{update,upwards,{advanced,[]}}"], [])


def test_an_application_is_restarted_instead(compiled: Compiled) -> None:
    made = compiled.make("record", wishes=Wishes(restarts=frozenset({"web"})))
    assert appup(made) == (["{restart_application,web}"], ["{restart_application,web}"])


def test_with_debug_info_the_records_themselves_are_compared(compiled: Compiled) -> None:
    with pytest.raises(UndecidedError, match="the record state has"):
        compiled.make("debug_turned")
    assert appup(compiled.make("debug_soft"))[0] == ["{update,debug_soft,soft}"]


def test_an_appup_that_is_there_is_used_as_it_stands(compiled: Compiled) -> None:
    up, down = "{update,record,soft,soft_purge,soft_purge,[]}", "{load_module,record}"
    text = f'{{"1.1.0",[{{<<"1[.]0.*">>,[{up}]}}],[{{"1.0.0",[{down}]}}]}}.'
    made = compiled.make("record", appup=text)
    assert (made.kept, made.made, list(made.files)) == (("web",), (), ["releases/1.1.0/relup"])
    assert b"{load,{record,soft_purge,soft_purge}}" in made.files["releases/1.1.0/relup"]


def test_an_appup_from_elsewhere_is_replaced_by_force_only(compiled: Compiled) -> None:
    text = '{"1.1.0",[{"0.9",[]}],[]}.\n'
    with pytest.raises(PackageError, match="but not from"):
        compiled.make("soft", appup=text)
    assert compiled.make("soft", appup=text, wishes=Wishes(force=True)).made == ("web",)


def test_an_appup_without_a_way_back(compiled: Compiled) -> None:
    made = compiled.make("soft", appup='{"1.1.0",[{"1.0.0",[{load_module,soft}]}],[]}.\n')
    assert made.down is None
    assert made.files["releases/1.1.0/relup"].decode().rstrip().endswith("[]}.")


# -- Elixir ----------------------------------------------------------------------------------------


def test_the_code_change_that_use_genserver_brings_is_none(compiled: Compiled) -> None:
    passed = compiled.make("Elixir.Passer", "Elixir.Shown")
    assert appup(passed)[0] == ["{update,'Elixir.Passer',{advanced,[]}}", "{load_module,'Elixir.Shown'}"]
    with pytest.raises(UndecidedError, match=r"the struct Elixir\.Kept has other fields"):
        compiled.make("Elixir.Keeper", "Elixir.Kept")


def test_an_application_that_lists_its_children_itself(compiled: Compiled) -> None:
    with pytest.raises(UndecidedError, match=r"names Elixir\.Keeper in one version only"):
        compiled.make("Elixir.App", "Elixir.Keeper", wishes=Wishes({"Elixir.Keeper": Change.UPDATE}))
