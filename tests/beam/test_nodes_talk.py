"""`relctl eval` and `relctl rpc` in real nodes: values, output, errors; no health is harmed, no secret is told."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from relctld.host import users
from tests.beam.nodes_asked import OWN, QUICK, evaluate, healths, same_vm, value
from tests.beam.supervised import Host, crashed
from tests.running import Relctld, need_root
from tests.waiting import wait_until

pytestmark = pytest.mark.beam

COOKIE = "relctl-demo"
SECRET = "swordfish"


@pytest.fixture
def web(request: pytest.FixtureRequest, host: Host) -> Iterator[Relctld]:
    """A node that runs well, of `mapp` where asked for, else of `rapp`. What is done to it does it no harm."""
    name = getattr(request, "param", "rapp")
    root: Path = request.getfixturevalue(f"{name}_root")
    daemon = host.run(web=host.release(root, health=QUICK))
    before = daemon.wait_for("web", state="running", health="well")
    yield daemon
    assert "surprise" not in daemon.said()
    assert same_vm(before, daemon.wait_for("web", health="well"))
    assert set(healths(daemon, "web")) == {"well"}


elixir = pytest.mark.parametrize("web", ["mapp"], indirect=True)


def failed(daemon: Relctld, text: str, **args: Any) -> str:
    """The text of the error that an expression ends with."""
    reply = evaluate(daemon, "web", text, **args)
    assert not reply["ok"], reply
    return str(reply["value"])


# -- values ----------------------------------------------------------------------------------------


def test_values_and_output_of_erlang(web: Relctld) -> None:
    for text, shown in {
        "1 + 1.": "2",
        "1 + 1": "2",  # no Elixir here, so it can be nothing else
        'X = #{a => "b"}, Y = X#{c => [1.5, self() =:= self()]}, Y.': '#{a => "b",c => [1.5,true]}',
        '<<"bl\u00e5b\u00e6r"/utf8>>.': '<<"bl\u00e5b\u00e6r"/utf8>>',
        "{value, a, b}.": "{value,a,b}",
        "{badrpc, a}.": "{badrpc,a}",
        "F = fun(N) -> N * 2 end, lists:map(F, [1, 2]).": "[2,4]",
        "% nothing\n ok % a remark": "ok",
        "ok. % a remark": "ok",
    }.items():
        assert value(web, "web", text) == shown, text
    said = evaluate(web, "web", 'io:format("one~ntwo ~ts", [[9731]]), io:put_chars("!"), done.')
    assert (said["ok"], said["output"], said["value"]) == (True, "one\ntwo \u2603!", "done")
    done = web.relctl("eval", "web", 'io:format("one~n"), two.')
    assert done.stdout == "one\ntwo\n"
    assert json.loads(web.relctl("--json", "eval", "web", "a.").stdout)["value"] == "a"


@elixir
def test_values_and_output_of_elixir(web: Relctld) -> None:
    for text, shown in {
        "1 + 1": "2",
        "x = %{a: 'b'}\nMap.put(x, :c, [1.5, self() == self()])": "%{a: 'b', c: [1.5, true]}",
        '"bl\u00e5b\u00e6r \u2603"': '"bl\u00e5b\u00e6r \u2603"',
        "[1, 2] |> Enum.map(&(&1 * 2))": "[2, 4]",
        "Mapp.Server.get()": "{:v1, 0}",
        "lists:sum([1, 2]).": "3",
    }.items():
        assert value(web, "web", text) == shown, text
    said = evaluate(web, "web", 'IO.puts("one \u2603"); :done')
    assert (said["ok"], said["output"], said["value"]) == (True, "one \u2603\n", ":done")
    assert web.relctl("eval", "web", "--erlang", "{a, <<1>>}").stdout == "{a,<<1>>}\n"
    assert web.relctl("rpc", "web", "Mapp.Server", "get").stdout == "{v1,0}\n"


def test_rpc(web: Relctld) -> None:
    assert web.relctl("rpc", "web", "lists", "sum", "[[1, 2]]").stdout == "3\n"
    assert web.relctl("rpc", "web", "erlang", "node").stdout == "'rapp@127.0.0.1'\n"
    assert web.relctl("rpc", "web", "io", "format", '["hello~n"]').stdout == "hello\nok\n"
    for arguments, why in {
        ("lists", "sun", "[[1, 2]]"): "undef",
        ("lists", "sum", "[a"): "syntax error",
        ("lists", "sum", "a"): "badarg",
        ("it's", "sum"): "undef",
    }.items():
        done = web.relctl("rpc", "web", *arguments, check=False)
        assert (done.returncode, why in done.stderr) == (1, True), done


def test_the_expression_may_come_by_standard_input(web: Relctld) -> None:
    command = [sys.executable, "-m", "relctl", "--socket", str(web.socket), "eval", "web", "-"]
    done = subprocess.run(command, input="A = 1,\nA + 1.\n", capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "2\n"


# -- errors ----------------------------------------------------------------------------------------


def test_errors_of_erlang(web: Relctld) -> None:
    for text, why in {
        "1 +.": "line 1: syntax error before: '.'",
        "ok,\n'a": "line 2: unterminated atom starting with 'a'",
        "X.": "error: {unbound_var,'X'}",
        "1 / 0.": "error: badarith",
        "error({boom, 1}).": "error: {boom,1}",
        "exit(bye).": "exit: bye",
        "throw(ball).": "throw: ball",
        "nobody:home().": "error: undef",
    }.items():
        assert failed(web, text) == why, text
    done = web.relctl("eval", "web", "1 / 0.", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("relctl: cannot eval web: error: badarith\n")
    assert "the release carries no Elixir" in web.relctl("eval", "web", "--elixir", "1", check=False).stderr


@elixir
def test_errors_of_elixir(web: Relctld) -> None:
    for text, why in {
        'raise "boom"': "** (RuntimeError) boom",
        "1 / 0": "** (ArithmeticError) bad argument in arithmetic expression",
        "1 +": "** (TokenMissingError) nofile:1:3: syntax error: expression is incomplete",
        "Nobody.home()": "** (UndefinedFunctionError) function Nobody.home/0 is undefined",
        "nobody": "** (CompileError) nofile:1: undefined function nobody/0",
        "exit(:bye)": "** (exit) :bye",
        "throw(:ball)": "throw: ball",
    }.items():
        assert failed(web, text).startswith(why), text


def test_what_takes_too_long(web: Relctld) -> None:
    done = web.relctl("eval", "web", "--timeout", "0.3s", "timer:sleep(infinity).", check=False)
    assert done.returncode == 1
    assert "no answer within 0.3 s; it may still be at work in the node" in done.stderr
    assert value(web, "web", "ok.") == "ok"


def test_what_is_too_much_is_cut(web: Relctld) -> None:
    for text in ("lists:seq(1, 300000).", 'binary:copy(<<"x">>, 20000000).', "binary:copy(<<0>>, 1000000)."):
        assert 1000 < len(value(web, "web", text)) <= 100_100, text
    printed = evaluate(web, "web", "io:put_chars(lists:duplicate(1000000, $x)), ok.")
    assert (printed["value"], len(printed["output"])) == ("ok", 100_000)
    both = evaluate(web, "web", "io:put_chars(lists:duplicate(300000, 1)), lists:duplicate(300000, 34).")
    assert (both["ok"], len(both["output"])) == (True, 100_000)


@elixir
def test_what_is_too_much_is_cut_in_elixir_too(web: Relctld) -> None:
    for text in ('String.duplicate("\U0001f600", 300_000)', "Enum.to_list(1..300_000)"):
        assert 1000 < len(value(web, "web", text)) <= 110_000, text


# -- no harm ---------------------------------------------------------------------------------------


def test_an_expression_may_cut_every_link(web: Relctld) -> None:
    assert "noconnection" not in failed(web, "exit(self(), kill).")
    for text in (
        f"erlang:disconnect_node('{OWN}').",
        "[erlang:disconnect_node(N) || N <- nodes(hidden)].",
    ):
        said = web.relctl("eval", "web", text, check=False)
        assert "no answer within" not in said.stderr, text
        wait_until(lambda: web.relctl("eval", "web", "ok.", check=False).returncode == 0, what="an answer")


def test_an_expression_may_end_the_node(rapp_root: Path, host: Host) -> None:
    daemon = host.run(web=host.release(rapp_root, health=QUICK))
    before = daemon.wait_for("web", state="running", health="well")
    done = daemon.relctl("eval", "web", "halt(7).", check=False)
    assert done.returncode == 1
    assert "cannot eval web: " in done.stderr
    assert "no answer within" not in done.stderr
    assert daemon.noted("web", "evaluated")[0]["ok"] is False
    last = crashed(daemon, "web", "halted")
    assert (last["code"], last["pid"]) == (7, before["pid"])
    daemon.wait_for("web", state="running", health="well", epoch=2)
    assert value(daemon, "web", "ok.") == "ok"
    daemon.relctl("stop", "web")
    done = daemon.relctl("eval", "web", "ok.", check=False)
    assert (done.returncode, "does not run" in done.stderr) == (5, True)


# -- secrets ---------------------------------------------------------------------------------------


def test_the_text_and_the_cookie_are_told_to_nobody(web: Relctld) -> None:
    source = f'Secret = "{SECRET}", io:format("~s", [Secret]), Secret.'
    value(web, "web", source)
    failed(web, f'error("{SECRET}").')
    failed(web, f'"{SECRET}" "{SECRET}')
    for words in (
        ("eval", "web", f'timer:sleep(5000), "{SECRET}".', "--timeout", "0.2s"),
        ("eval", "web", f"exit(self(), {SECRET})."),
        ("rpc", "web", "erlang", "error", f'["{SECRET}"]'),
    ):
        assert web.relctl(*words, check=False).returncode == 1, words
    done = web.relctl("eval", "web", f"\udcff {SECRET}.", check=False)
    assert (done.returncode, done.stderr) == (2, "relctl: cannot eval web: text is not UTF-8\n")
    noted = web.noted("web", "evaluated", at_least=6)
    by = users.name_of(os.geteuid())
    assert {e["by"] for e in noted} == {by}
    assert [(e["op"], e["ok"]) for e in noted] == [("eval", True), *[("eval", False)] * 4, ("rpc", False)]
    relctlds = [psutil.Process(web.pid), *psutil.Process(web.pid).children()]
    vm = web.status("web")["pid"]
    places = [Path(f"/proc/{p.pid}/cmdline") for p in relctlds if p.pid != vm]
    places += [path for folder in (web.state_dir, web.run_dir) for path in folder.rglob("*") if path.is_file()]
    told = {str(path): path.read_bytes() for path in (*places, web.output) if "scratch" not in path.parts}
    told["events"] = json.dumps(web.events()).encode()
    told["status"] = json.dumps(web.status("web")).encode()
    for word in (SECRET, COOKIE):
        assert [place for place, text in told.items() if word.encode() in text] == []


def test_only_admins_may_ask(web: Relctld) -> None:
    need_root()
    access = [sys.executable, "-m", "tests.acting", "65534", "65534", ""]
    for words in (["eval", "web", "node()."], ["rpc", "web", "erlang", "node"]):
        command = [*access, "relctl", "--socket", str(web.socket), *words]
        done = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout) == (5, "")
        assert f"may not ask for {words[0]}" in done.stderr
    assert "evaluated" not in [event["event"] for event in web.events()]
