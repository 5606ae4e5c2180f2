"""Each of the files that make a version: what it says, what is refused; tests/beam/test_package_oracle.py asks OTP."""

from __future__ import annotations

import contextlib
import gzip
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relctld.beam.package import relup
from relctld.beam.package.beamfile import read_beam
from relctld.beam.package.instructions import read_step
from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.package.releases import STATUSES, Entry, entry_of, read_releases, render_releases
from relctld.beam.package.relfile import Rel, read_rel
from relctld.beam.package.relup import Script, in_words, read_relup
from relctld.beam.term.terms import Atom
from tests.packages import Version, atoms, beam, consulted, iff, text
from tests.terms import TERMS

WEB = Rel("web", "1.0.0+b1", "13.1.5", {"kernel": "8.5.3", "web": "1.0.0+b1"})


# -- .rel ------------------------------------------------------------------------------------------


def test_a_rel_of_each_tool() -> None:
    relx = b'{release,{"web","1.0.0+b1"},{erts,"13.1.5"},[{kernel,"8.5.3"},{web,"1.0.0+b1"}]}.'
    listed = b'[{kernel,"8.5.3",permanent},\n{web,"1.0.0+b1",load,[]}]'
    mix = b'%% coding: utf-8\n{release,{"web","1.0.0+b1"},{erts,"13.1.5"},' + listed + b"}.\n"
    assert read_rel(relx) == read_rel(mix) == WEB
    assert WEB.folder("kernel") == "lib/kernel-8.5.3"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", Kind.DAMAGED),
        (b"{release", Kind.DAMAGED),
        (b'{release,{"web","1"},{erts,"1"},[]}.', Kind.DAMAGED),
        (b'{release,{"web","1"},{erts,"1"},[kernel]}.', Kind.DAMAGED),
        (b'{release,{"web","1"},{erts,"1"},[{a,"1"},{a,"2"}]}.', Kind.DAMAGED),
        (b'{release,{"web","../1"},{erts,"1"},[{a,"1"}]}.', Kind.BAD_VERSION),
        (b'{release,{"web","1..2"},{erts,"1"},[{a,"1"}]}.', Kind.BAD_VERSION),
        (b'{release,{"web","$(id)"},{erts,"1"},[{a,"1"}]}.', Kind.BAD_VERSION),
        (b'{release,{"web","-1"},{erts,"1"},[{a,"1"}]}.', Kind.BAD_VERSION),
        (b'{release,{"web","1\\n"},{erts,"1"},[{a,"1"}]}.', Kind.BAD_VERSION),
        (b'{release,{"web",[1|a]},{erts,"1"},[{a,"1"}]}.', Kind.BAD_VERSION),
        (b'{release,{"web",""},{erts,"1"},[{a,"1"}]}.', Kind.BAD_VERSION),
        (b'{release,{"a b","1"},{erts,"1"},[{a,"1"}]}.', Kind.BAD_VERSION),
        (b'{release,{"web","1"},{erts,"/"},[{a,"1"}]}.', Kind.BAD_VERSION),
        (b'{release,{"web","1"},{erts,"1"},[{\'a/b\',"1"}]}.', Kind.BAD_VERSION),
        (b'{release,{"web","1"},{erts,"1"},[{a,"1/2"}]}.', Kind.BAD_VERSION),
    ],
)
def test_a_rel_that_is_refused(data: bytes, kind: Kind) -> None:
    with pytest.raises(PackageError) as raised:
        read_rel(data)
    assert raised.value.kind == kind


# -- RELEASES --------------------------------------------------------------------------------------

STRINGS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6)
LIBRARIES = st.lists(st.tuples(STRINGS, STRINGS, STRINGS), max_size=3).map(tuple)
ENTRIES = st.builds(Entry, STRINGS, STRINGS, STRINGS | st.none(), LIBRARIES, st.sampled_from(sorted(STATUSES)))


@given(st.lists(ENTRIES, max_size=3, unique_by=lambda entry: entry.version).map(tuple))
def test_releases_round_trip(entries: tuple[Entry, ...]) -> None:
    assert read_releases(render_releases(entries)) == entries


def test_releases_as_relx_writes_it() -> None:
    data = b"""%% coding: utf-8
[{release,"rapp","1.0.0","13.1.5",
          [{kernel,"8.5.3","./lib/kernel-8.5.3"},
           {rapp,"1.0.0","./lib/rapp-1.0.0"}],
          permanent}].
"""
    rel = Rel("rapp", "1.0.0", "13.1.5", {"kernel": "8.5.3", "rapp": "1.0.0"})
    assert read_releases(data) == (entry_of(rel, ".", "permanent"),)


def test_an_entry_that_release_handler_made_up() -> None:
    (entry,) = read_releases(b'[{release,"web","1.0.0",undefined,[],permanent}].')
    assert entry == Entry("web", "1.0.0", None, (), "permanent")
    assert b"undefined" in render_releases([entry])


@pytest.mark.parametrize(
    "data",
    [b"", b"[", b"{}.", b"[a].", b'[{release,"a","1","1",[],broken}].', b'[{release,a,"1","1",[],old}].',
     b'[{release,"a","1","1",[{a,"1"}],old}].', b'[{release,"a","1","1",[],old},{release,"a","1","1",[],old}].',
     b"\x00" * 100],
)  # fmt: skip
def test_a_torn_releases(data: bytes) -> None:
    with pytest.raises(PackageError, match="RELEASES is damaged"):
        read_releases(data)


# -- relup -----------------------------------------------------------------------------------------


def test_a_relup() -> None:
    found = read_relup(Version("1.1.0").files["releases/1.1.0/relup"])
    up, down = found.ups["1.0.0"], found.downs["1.0.0"]
    assert (found.version, up.to, down.to) == ("1.1.0", "1.1.0", "1.0.0")
    assert relup.modules_loaded(up) == relup.modules_purged(up) == ("web_app", "web_srv")
    assert relup.suspended(up) == ("web_srv",)
    assert relup.objects(down)[0].library == ("web", "1.0.0")
    assert not relup.faults(up)
    assert not relup.restarts_emulator(up)
    assert relup.stopped(up) == relup.modules_removed(up) == ()


def script(source: str) -> Script:
    return read_relup(f'{{"1.1.0",[{{"1.0.0",<<"why">>,[{source}]}}],[]}}.'.encode()).ups["1.0.0"]


WORDS = [
    ('{load_object_code,{web,"1.1.0",[a,b]}}', "read the new code of web 1.1.0: a, b"),
    ("point_of_no_return", "point of no return: what fails from here on restarts the node"),
    ("{load,{a,brutal_purge,soft_purge}}", "load a, killing processes that still run older code of it"),
    (
        "{remove,{a,soft_purge,brutal_purge}}",
        "remove a, refused if a process still runs older code of it, killing those that stay in what it replaces",
    ),
    ("{purge,[a,b]}", "remove the old code of a, b, killing processes that still run it"),
    ("{suspend,[a,{b,infinity},{c,5000},{d,default}]}",
     "suspend the processes of a, b (infinity at most), c (5000 ms at most), d"),
    ("{resume,[a]}", "resume the processes of a"),
    ("{code_change,[{a,[]}]}", "bring the state of the processes of a to the new code"),
    ("{code_change,down,[{a,[x]},{b,[]}]}", "bring the state of the processes of a with [x], b back to the older code"),
    ("{stop,[a]}", "stop the processes of a"),
    ("{start,[a]}", "start the stopped processes of a again"),
    ("{sync_nodes,id,[n@h]}", "wait for [n@h] to come to id"),
    ("{apply,{application,start,[web,permanent]}}", "call application:start(web,permanent)"),
    ("restart_new_emulator", "restart the VM with the new ERTS, kernel, stdlib and sasl, then go on"),
    ("restart_emulator", "restart the VM"),
    ("{update,a}", "unknown to release_handler: {update,a}"),
    ("{load,a}", "unknown to release_handler: {load,a}"),
    ("{load,{a,no_purge,x}}", "unknown to release_handler: {load,{a,no_purge,x}}"),
    ("{suspend,[1]}", "unknown to release_handler: {suspend,[1]}"),
    ("{purge,[1]}", "unknown to release_handler: {purge,[1]}"),
    ("{code_change,[a]}", "unknown to release_handler: {code_change,[a]}"),
    ('{load_object_code,{web,v,[a]}}', "unknown to release_handler: {load_object_code,{web,v,[a]}}"),
    ("17", "unknown to release_handler: 17"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "words"), WORDS)
def test_instructions_in_words(source: str, words: str) -> None:
    (instruction,) = script(source).instructions
    assert in_words(instruction) == words


def test_what_a_script_does() -> None:
    found = script(
        '{apply,{m,f,[]}},{load_object_code,{web,"1.1.0",[a]}},point_of_no_return,{stop,[s]},{suspend,[{p,1},q]},'
        "{load,{a,soft_purge,brutal_purge}},{remove,{b,brutal_purge,soft_purge}},{purge,[c]},{apply,{m,g,[]}}"
    )
    assert found.description == "why"
    assert relup.modules_loaded(found) == ("a",)
    assert relup.modules_removed(found) == ("b",)
    assert relup.modules_killing(found) == ("b", "c")
    assert relup.modules_sparing(found) == relup.modules_purged(found) == ("a",)
    assert relup.suspended(found) == ("p", "q")
    assert relup.stopped(found) == ("s",)
    assert relup.restarts_emulator(script("restart_new_emulator,point_of_no_return"))
    assert relup.restarts_emulator(script("point_of_no_return,restart_emulator"))


READ = '{load_object_code,{web,"1.1.0",[a]}}'
LOAD = "{load,{a,brutal_purge,brutal_purge}}"


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (f"{READ},point_of_no_return,{LOAD},{{update,a}}", "unknown to release_handler: {update,a}"),
        (f"point_of_no_return,{READ},{LOAD}", "not before a point of no return: read"),
        (f"{READ},{LOAD}", "not before a point of no return: read"),
        (f"{READ},point_of_no_return,{{load,{{b,brutal_purge,brutal_purge}}}}", "loads b, which no load_object_code"),
        (f"{READ},point_of_no_return,{LOAD},{LOAD}", "loads a twice"),
        (f"{READ},{{suspend,[a]}},point_of_no_return,{LOAD}", "before the point of no return: suspend"),
        (f"{READ},{LOAD},point_of_no_return", "before the point of no return: load"),
        (f"{READ},restart_new_emulator,point_of_no_return,{LOAD}", "not at its beginning: restart the VM with the new"),
        (f"{READ},point_of_no_return,restart_emulator,{LOAD}", "not at its end: restart the VM"),
    ],
)
def test_a_script_that_would_fail_in_the_node(source: str, fault: str) -> None:
    assert [words for words in relup.faults(script(source)) if words.startswith(fault)]


def test_what_a_script_does_around_its_restarts() -> None:
    first, last, both = (
        script(source)
        for source in (
            f"restart_new_emulator,{READ},point_of_no_return,{LOAD}",
            f"{READ},point_of_no_return,{LOAD},restart_emulator",
            "restart_new_emulator,point_of_no_return,restart_emulator",
        )
    )
    for found, begins, ends in ((first, True, False), (last, False, True), (both, True, True)):
        assert relup.faults(found) == ()
        assert (relup.begins_anew(found), relup.ends_anew(found)) == (begins, ends)
    assert relup.before_restart(first) == first.instructions
    assert relup.before_restart(last) == last.instructions[:-1]
    assert relup.booted(first, ["kernel", "web"]) == ["kernel"]
    assert relup.booted(last, ["kernel", "web"]) == ["kernel", "web"]
    assert relup.booted(script(f"{READ},{LOAD}"), ["kernel", "web"]) == []


def test_a_script_without_a_point_of_no_return_may_call() -> None:
    found = script("{apply,{m,f,[]}}")
    assert relup.faults(found) == ()


def test_of_two_ways_release_handler_takes_the_first() -> None:
    data = consulted((text("2"), [(text("1"), [], atoms("restart_emulator")), (text("1"), [], [])], []))
    assert relup.restarts_emulator(read_relup(data).ups["1"])


@given(st.binary(max_size=200) | TERMS.map(lambda term: ("of a term", term)))
@example(b'{"1.1.0",[],[]}.')
@example(b'{"1.1.0",[{"1.0.0",[],not_a_list}],[]}.')
def test_relup_is_total(given_: Any) -> None:
    try:
        data = given_ if isinstance(given_, bytes) else consulted((text("1"), [(text("0"), [], [given_[1]])], []))
    except ValueError:  # a pid has no text
        return
    try:
        found = read_relup(data)
    except PackageError:
        return
    for one in (*found.ups.values(), *found.downs.values()):
        assert all(map(in_words, one.instructions))
        relup.faults(one)


@given(TERMS)
def test_any_instruction(term: Any) -> None:
    assert in_words(term)
    read_step((Atom("apply"), term))


# -- .beam -----------------------------------------------------------------------------------------


def test_what_a_module_says() -> None:
    said = [
        ("vsn", [1234]),
        ("behaviour", atoms("gen_server")),
        ("behavior", atoms("x")),
        ("on_load", [(Atom("i"), 0)]),
    ]
    found = read_beam(beam("web_srv", attributes=said, nif=True))
    assert (found.module, found.vsn, found.behaviours) == ("web_srv", "1234", ("gen_server", "x"))
    assert found.on_load
    assert found.loads_nif
    plain = read_beam(beam("Elixir.Ünï"))
    assert (plain.module, plain.vsn, plain.is_native) == ("Elixir.Ünï", None, False)
    assert plain.md5 == read_beam(gzip.compress(beam("Elixir.Ünï"))).md5
    assert plain.md5 != read_beam(beam("Elixir.Ünï", b"other")).md5


@pytest.mark.parametrize(
    ("value", "vsn"), [([text("1.0")], '["1.0"]'), (text("1.0"), "1.0"), ([-5], "-5"), ([1 << 5000], None), ([], None)]
)
def test_each_vsn(value: Any, vsn: str | None) -> None:
    found = read_beam(beam("a", attributes=[("vsn", value)])).vsn
    assert found == vsn or (vsn is None and (found is None or "bits" in found))


def test_atoms_of_otp_28() -> None:
    table = b"\xff\xff\xff\xfe" + b"\x30abc" + b"\x28\x2c" + b"n" * 300  # 3, and 1 << 8 | 0x2c
    chunks = [(b"AtU8", table), (b"Code", b""), (b"ImpT", bytes(4)), (b"ExpT", bytes(4))]
    assert read_beam(iff(chunks)).module == "abc"


def test_cut_off_anywhere() -> None:
    whole = beam("web_srv", attributes=[("vsn", [1])])
    packed = gzip.compress(whole)
    for data in (*(whole[:size] for size in range(len(whole))), *(packed[:size] for size in range(len(packed)))):
        with pytest.raises(PackageError, match="it is no whole module"):
            read_beam(data)


@given(st.binary(max_size=300), st.integers(0, 200))
def test_any_bytes_for_a_module(data: bytes, at: int) -> None:
    whole = beam("web_srv", attributes=[("vsn", [1])], nif=True)
    for tried in (data, b"FOR1" + data, whole[:at] + data[:2] + whole[at + 2 :]):
        with contextlib.suppress(PackageError):
            read_beam(tried)
