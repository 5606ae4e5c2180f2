"""The Erlang that is evaluated in a node during an upgrade: every OTP understands it, Debian's does what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from relctld.beam.dist.evaluate import evaluate
from relctld.beam.dist.link import CallFailed, Link, connect
from relctld.beam.handler import orders, questions, replies
from relctld.beam.handler.replies import HandlerError
from relctld.beam.term.terms import Atom, Term
from tests import otps
from tests.beam.nodes import Node, node
from tests.waiting import wait_until

pytestmark = pytest.mark.beam

T = TypeVar("T")
A = Atom
TEXTS = {
    name: value for name, value in (vars(orders) | vars(questions)).items() if name.isupper() and isinstance(value, str)
}


OURS: Term = (A("from"), [ord(char) for char in "/nowhere"])
"""A RELDIR that is not this node's."""

STATE = '{state,"swordfish",<<"swordfish">>,4711,[a,"swordfish"]}'
RAISED = "#{'__struct__' => 'Elixir.RuntimeError','__exception__' => true,message => <<\"cannot take swordfish\">>}"
NO_CLAUSE = (
    "#{'__struct__' => 'Elixir.FunctionClauseError','__exception__' => true,module => web_srv,function => code_change,"
    f"arity => 3,kind => nil,args => [{STATE}],clauses => nil}}"
)
FAILURES = {
    "state": (
        f"{{apply,{{erlang,error,[{{badmatch,{STATE}}}]}}}}",
        "{badmatch,{state,'_','_','_',[a,'...']}}",
    ),
    "call": (
        f"{{apply,{{erlang,apply,[lists,nth,[{STATE},{STATE}]]}}}}",
        "function_clause",
    ),
    "exit": (
        f"{{apply,{{erlang,exit,[{{noproc,{{gen_server,call,[web_srv,{STATE}]}}}}]}}}}",
        "{noproc,{gen_server,call,[web_srv,'...']}}",
    ),
    "elixir": (f"{{apply,{{erlang,error,[{RAISED}]}}}}", "{'EXIT',{'Elixir.RuntimeError',[{release_handler_1,"),
    "clause": (
        f"{{apply,{{erlang,error,[{NO_CLAUSE}]}}}}",
        "{'EXIT',{{'Elixir.FunctionClauseError',{web_srv,code_change,3}},[{",
    ),
    "library": ('{load_object_code,{kernel,"0",[]}}', "{case_clause,false}"),
}
"""An instruction of a relup, and what is told of its failure."""


def text(value: str) -> list[Term]:
    return [ord(char) for char in value]


@pytest.fixture(scope="module")
def sasl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with sasl, and with RELEASES of no libraries; to become 2 it fails, each 2-… in its own way."""
    releases = tmp_path_factory.mktemp("releases")
    entries = ['{release,"web","1.0.0","13",[],permanent}']
    for kind, (instruction, _) in FAILURES.items():
        (releases / f"2-{kind}").mkdir()
        (releases / f"2-{kind}" / "sys.config").write_text("[].\n")
        (releases / f"2-{kind}" / "relup").write_text(
            f'{{"2-{kind}",[{{"1.0.0",[],[{instruction},point_of_no_return]}}],[]}}.\n'
        )
        boot = Path("/usr/lib/erlang/bin/start_sasl.boot")
        (releases / f"2-{kind}" / "start.boot").write_bytes(boot.read_bytes())
        entries.append(f'{{release,"web","2-{kind}","13",[],unpacked}}')
    (releases / "RELEASES").write_text(f"[{','.join(entries)}].\n")
    flags = ("-sasl", "releases_dir", f'"{releases}"', "-eval", "ok = application:start(sasl)")
    with node("25", *flags) as up:
        wait_until(lambda: asked(up, ("whereis(release_handler).", {})) != ["undefined"], what="release_handler")
        yield up


def asked(up: Node, *questions: tuple[str, dict[str, Term]]) -> list[Term]:
    """The answers, one after the other over one link."""

    async def work(link: Link) -> list[Term]:
        return [await evaluate(link, source, bindings, 30.0) for source, bindings in questions]

    return _linked(up, work)


def _linked(up: Node, work: Callable[[Link], Awaitable[T]]) -> T:
    async def run() -> T:
        link = await connect(up.target(), 10.0, max_frame=1 << 20)
        try:
            return await work(link)
        finally:
            link.close()

    return asyncio.run(run())


@pytest.mark.parametrize("otp", ["25", "28"])
def test_every_text_is_understood(otp: str, tmp_path: Path) -> None:
    for name, source in TEXTS.items():
        (tmp_path / name).write_text(source)
    names = ",".join(f'"{tmp_path / name}"' for name in TEXTS)
    said = otps.run(
        otp,
        f"""lists:foreach(fun(File) ->
            {{ok, Text}} = file:read_file(File),
            {{ok, Tokens, _}} = erl_scan:string(unicode:characters_to_list(Text)),
            {{ok, [_]}} = erl_parse:parse_exprs(Tokens),
            io:format("~s ", [filename:basename(File)])
        end, [{names}])""",
    )
    assert said.split() == list(TEXTS)


def test_nothing_was_ordered_and_release_handler_says_what_it_knows(sasl: Node) -> None:
    [answer] = asked(sasl, (questions.SURVEY, {}))
    found = replies.survey(answer)
    assert (found.order, found.current, found.permanent) == (None, "1.0.0", "1.0.0")


def test_a_node_without_sasl_says_so() -> None:
    with node("25") as up, pytest.raises(HandlerError, match="add sasl"):
        replies.survey(asked(up, (questions.SURVEY, {}))[0])


def install(tag: bytes, vsn: str) -> tuple[str, dict[str, Term]]:
    env: Term = [(text("RELEASE_VSN"), text(vsn))]
    before: Term = [(text("RELEASE_VSN"), text("1.0.0"))]
    given: dict[str, Term] = {"Tag": tag, "Vsn": text(vsn), "Options": [], "Env": env, "EnvBefore": before}
    return orders.INSTALL, {**given, "Purge": [], "Grace": 0, "Patience": 0}


def test_an_install_keeps_its_result_and_is_ordered_once(sasl: Node) -> None:
    async def work(link: Link) -> list[Term]:
        async def ask(source: str, bindings: dict[str, Term]) -> Term:
            return await evaluate(link, source, bindings, 30.0)

        async def ended() -> replies.Order:
            while True:
                order = replies.survey(await ask(questions.SURVEY, {})).order
                if order is not None and order.install.done:
                    return order

        assert await ask(*install(b"first", "9")) == "ok"
        first = await ended()
        assert (first.tag, first.version) == ("first", "9")
        assert "no_such_release" in (first.install.error or "")
        assert await link.call("os", "getenv", [text("RELEASE_VSN")], timeout=5) == text("1.0.0"), "put back"
        worker = await link.call("erlang", "whereis", [A("relctl_upgrade")], timeout=5)
        assert await ask(*install(b"first", "9")) == "ok"
        assert await link.call("erlang", "whereis", [A("relctl_upgrade")], timeout=5) == worker, "not ordered again"
        assert await ask(*install(b"first-back", "8")) == "ok"
        assert (await ended()).tag == "first-back"
        assert await ask(orders.RELEASE, {}) == "ok"
        assert await ask(orders.RELEASE, {}) == "ok"
        return [await ask(questions.SURVEY, {})]

    [answer] = _linked(sasl, work)
    assert replies.survey(answer).order is None


def test_why_an_install_failed_is_told_without_state_arguments_and_messages(sasl: Node) -> None:
    async def work(link: Link) -> dict[str, str]:
        found = {}
        for kind in FAILURES:
            await evaluate(link, *install(kind.encode(), f"2-{kind}"), 30.0)
            while True:
                order = replies.survey(await evaluate(link, questions.SURVEY, {}, 30.0)).order
                if order is not None and order.tag == kind and order.install.done:
                    break
            found[kind] = order.install.error or ""
        await evaluate(link, orders.RELEASE, {}, 30.0)
        return found

    told = _linked(sasl, work)
    assert {kind: words for kind, (_, words) in FAILURES.items() if words not in told[kind]} == {}, told
    assert not [each for each in told.values() if "swordfish" in each or "4711" in each]


def test_releases_are_read_again(sasl: Node) -> None:
    assert asked(sasl, *((orders.REREAD, {"RelDir": OURS}) for _ in range(2))) == ["ok", "ok"]


def test_a_boot_file_is_made_permanent(sasl: Node, tmp_path: Path) -> None:
    (tmp_path / "sys.config").write_text("[].\n")
    [boot] = asked(sasl, ('filename:join([code:root_dir(), "bin", "start_sasl"]).', {}))
    bindings: dict[str, Term] = {"Boot": boot, "Config": text(str(tmp_path / "sys")), "RelDir": OURS}
    said, where = asked(sasl, (orders.PERMANENT, bindings), ("init:get_argument(boot).", {}))
    assert said == "ok"
    assert where == (A("ok"), [[boot]])


def test_the_environment_of_a_version_is_given_again(sasl: Node, tmp_path: Path) -> None:
    config = tmp_path / "sys.config"
    config.write_text("[{sasl, [{given, 1}]}].\n")
    [boot] = asked(sasl, ('filename:join([code:root_dir(), "bin", "start_sasl.boot"]).', {}))
    bindings: dict[str, Term] = {
        "BootFile": boot,
        "ConfigFile": text(str(config)),
        "Env": [(text("GIVEN"), text("yes"))],
    }
    answers = asked(
        sasl, (orders.REPAIR, bindings), ("application:get_env(sasl, given).", {}), ('os:getenv("GIVEN").', {})
    )
    assert answers == ["ok", (A("ok"), 1), text("yes")]


def looking(config: Path, **more: Term) -> tuple[str, dict[str, Term]]:
    empty: Term = []
    given = dict.fromkeys(("Apps", "Added", "Removed", "Modules", "Suspended", "Except", "Same"), empty)
    return questions.VERIFY, {**given, "ConfigFile": text(str(config)), **more}


def test_a_look_finds_what_is_wrong(sasl: Node, tmp_path: Path) -> None:
    config = tmp_path / "sys.config"
    config.write_text("[{kernel, [{asked_for, 1}]}, {unknown, [{x, 1}]}].\n")
    wrong: dict[str, Term] = {
        "Apps": [(A("kernel"), text("0")), (A("no_such_app"), text("1"))],
        "Added": [A("no_such_app")],
        "Removed": [A("kernel")],
    }
    answer, fine = asked(sasl, looking(config, **wrong), looking(tmp_path / "none", Modules=[A("lists")]))
    found, lingering = replies.findings(answer)
    assert [each.partition(" is ")[0] for each in found[:1]] == ["kernel"]
    assert found[1:] == (
        "kernel is still running",
        "no_such_app is not running",
        "kernel: asked_for is not as configured",
    )
    assert lingering == ()
    assert replies.findings(fine)[0] == ("its configuration cannot be read: no such file or directory",)


def test_a_suspended_process_is_found_and_told_of(sasl: Node, tmp_path: Path) -> None:
    config = tmp_path / "sys.config"
    config.write_text("[].\n")
    about: dict[str, Term] = {"Killed": [A("lists")], "Spared": [A("rpc")], "Replaced": [A("none")]}
    answers = asked(
        sasl,
        ("sys:suspend(rex).", {}),
        looking(config, Suspended=[A("rpc")]),
        (questions.PROCESSES, {**about, "Suspended": [A("rpc")], "Patience": 200}),
        ("sys:resume(rex).", {}),
        looking(config, Suspended=[A("rpc")]),
    )
    assert replies.findings(answers[1])[0] == ("rex is still suspended",)
    found = replies.processes(answers[2])
    assert (found.count, found.suspended[0].name) == (1, "rex")
    assert found.killed == found.in_the_way == found.staying == ()
    assert replies.findings(answers[4]) == ((), ())


def test_protocols_of_a_version_are_loaded(sasl: Node, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    compile_there = (
        "{ok, M, Code} = compile:forms([{attribute,1,module,relctl_proto},{attribute,1,export,[]}], []), "
        'file:write_file(filename:join(To, "relctl_proto.beam"), Code), M.'
    )
    given: dict[str, Term] = {"From": text(str(tmp_path / "old")), "To": text(str(tmp_path / "new"))}
    answers = asked(
        sasl,
        (compile_there, {"To": given["To"]}),
        (orders.PROTOCOLS, given),
        ("code:which(relctl_proto).", {}),
        (orders.PROTOCOLS, {**given, "To": text(str(tmp_path / "missing"))}),
    )
    assert [replies.names(answers[1]), replies.names(answers[3])] == [(), ()]
    assert answers[2] == text(str(tmp_path / "new" / "relctl_proto.beam"))


def test_a_text_with_a_binding_missing_fails_and_says_so(sasl: Node) -> None:
    with pytest.raises(CallFailed, match="unbound"):
        asked(sasl, (questions.PROCESSES, {}))
