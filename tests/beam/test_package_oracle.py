"""What OTP says of the same files: beam_lib of modules, release_handler of RELEASES, systools of relups."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relctld.beam.package import relup
from relctld.beam.package.beamfile import read_beam
from relctld.beam.package.releases import Entry, entry_of, read_releases, render_releases
from relctld.beam.package.relfile import read_rel
from relctld.beam.package.relup import in_words, read_relup
from relctld.beam.term.consult import consult
from relctld.beam.term.etf import encode
from relctld.beam.term.shown import text
from relctld.beam.term.written import written_file
from tests import otps
from tests.beam.oracle import Oracle, oracle
from tests.packages import rel
from tests.terms import TERMS

pytestmark = pytest.mark.beam


@pytest.fixture(scope="module", params=list(otps.OTPS))
def vm(request: pytest.FixtureRequest) -> Iterator[tuple[str, Oracle]]:
    with oracle(request.param) as found:
        yield request.param, found


# -- modules ---------------------------------------------------------------------------------------

SAID = """
    lists:foreach(fun(File) ->
        {ok, {Module, Md5}} = beam_lib:md5(File),
        {ok, {Module, [{attributes, Attributes}]}} = beam_lib:chunks(File, [attributes]),
        {ok, {Module, [{imports, Imports}]}} = beam_lib:chunks(File, [imports]),
        Vsn = case proplists:get_value(vsn, Attributes, none) of [N] when is_integer(N) -> N; _ -> none end,
        Behaviours = proplists:get_value(behaviour, Attributes, []) ++ proplists:get_value(behavior, Attributes, []),
        OnLoad = proplists:is_defined(on_load, Attributes),
        Nif = lists:member({erlang, load_nif, 2}, Imports),
        io:format("{~p,~p,~p,~p,~p,~p,~p}.~n",
                  [File, Module, string:lowercase(binary:encode_hex(Md5)), Vsn, Behaviours, OnLoad, Nif])
    end, filelib:wildcard(~s))
"""


def said(otp: str, pattern: str) -> list[tuple[Path, object]]:
    """What beam_lib says of each module, as `read_beam` says it."""
    found = []
    for file, *rest in consult(otps.run(otp, SAID.replace("~s", f'"{pattern}"'))):  # type: ignore[misc]
        module, md5, vsn, behaviours, on_load, nif = rest
        own = (module, md5.decode(), None if vsn == "none" else str(vsn), tuple(behaviours), on_load == "true")
        found.append((Path("".join(map(chr, file))), (*own, nif == "true")))
    return found


@pytest.mark.parametrize("otp", list(otps.OTPS))
def test_modules(otp: str) -> None:
    root = otps.run(otp, "io:put_chars(code:lib_dir())")
    listed = said(otp, f"{root}/{{stdlib,kernel,crypto}}-*/ebin/*.beam")
    assert len(listed) > 150
    for path, expected in listed:
        found = read_beam(path.read_bytes())
        own = (found.module, found.md5, found.vsn, found.behaviours, found.on_load, found.loads_nif)
        assert own == expected, path
    assert any(read_beam(path.read_bytes()).is_native for path, _ in listed)


def test_one_source_in_two_places(tmp_path: Path) -> None:
    """As a release's two builds: the same md5, though the files differ; stripped, and so compressed, still the same."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "web.erl").write_text("-module(web).\n-export([f/1]).\nf(X) -> fun() -> {X, web} end.\n")
        subprocess.run(
            ["erlc", "+debug_info", tmp_path / name / "web.erl"], cwd=tmp_path / name, check=True, timeout=60
        )
    a, b = tmp_path / "a/web.beam", tmp_path / "b/web.beam"
    assert a.read_bytes() != b.read_bytes()
    whole = read_beam(a.read_bytes())
    assert whole.md5 == read_beam(b.read_bytes()).md5
    otps.run("25", f'{{ok, _}} = beam_lib:strip("{a}")')
    assert a.read_bytes().startswith(b"\x1f\x8b")
    stripped = read_beam(a.read_bytes())
    assert (stripped.module, stripped.md5, stripped.vsn) == (whole.module, whole.md5, None)


# -- text ------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TERMS, max_size=3))
def test_what_we_write(vm: tuple[str, Oracle], tmp_path: Path, terms: list[object]) -> None:
    try:
        data = written_file(terms)  # type: ignore[arg-type]
    except ValueError:  # a pid, a port or a reference somewhere
        return
    (tmp_path / "terms").write_bytes(data)
    assert vm[1].value(f'{{ok, T}} = file:consult("{tmp_path}/terms"), T')
    assert vm[1].same(encode(terms))  # type: ignore[arg-type]


# -- RELEASES --------------------------------------------------------------------------------------

HANDLER = """
    ok = application:load(sasl), ok = application:set_env(sasl, releases_dir, "~s"),
    {ok, _} = application:ensure_all_started(sasl),
    [io:format("{~w,~w,~w,~p}.~n", tuple_to_list(Release)) || Release <- release_handler:which_releases()]
"""


def which_releases(folder: Path) -> list[tuple[str, ...]]:
    """(name, version, status) of what release_handler finds there, once it has started."""
    printed = consult(otps.run("25", HANDLER.replace("~s", str(folder))))
    return [(text(name) or "", text(vsn) or "", str(status)) for name, vsn, _, status in printed]  # type: ignore[misc]


def test_release_handler_reads_what_we_write(tmp_path: Path) -> None:
    listed = [
        entry_of(read_rel(rel("web", version, {"kernel": "8.5.3", "web": version})), "/srv/web", status)
        for version, status in (("1.1.0", "unpacked"), ('1.0.0+b"1\\', "permanent"), ("0.9.0", "old"))
        if '"' not in version
    ]
    listed.append(Entry('wéb"\\', "0.8", None, (), "permanent"))
    (tmp_path / "RELEASES").write_bytes(render_releases(listed))
    assert which_releases(tmp_path) == [(entry.name, entry.version, entry.status) for entry in listed]


def test_we_read_what_release_handler_writes(tmp_path: Path) -> None:
    (tmp_path / "releases").mkdir()
    data = rel("web", "1.0.0", {"kernel": "8.5.3", "stdlib": "4.2"})
    (tmp_path / "web.rel").write_bytes(data)
    otps.run(
        "25", f'ok = release_handler:create_RELEASES("{tmp_path}", "{tmp_path}/releases", "{tmp_path}/web.rel", [])'
    )
    written = (tmp_path / "releases/RELEASES").read_bytes()
    assert read_releases(written) == (entry_of(read_rel(data), str(tmp_path), "permanent"),)


# -- relup -----------------------------------------------------------------------------------------

APPUP = """{"1.1.0",
 [{"1.0.0",[{load_module,web_lib},{update,web_srv,{advanced,[x]}},{update,web_sup,supervisor},{add_module,web_new},
            {delete_module,web_old},{apply,{io,format,["hello"]}}]}],
 [{"1.0.0",[{restart_application,web}]}]}."""


def systools_relup(folder: Path, options: str = "") -> bytes:
    """What systools makes of the appup above, with an application added."""
    modules = {"1.0.0": ["lib", "srv", "sup", "old"], "1.1.0": ["lib", "srv", "sup", "new"]}
    for version, names in modules.items():
        ebin = folder / f"lib/web-{version}/ebin"
        ebin.mkdir(parents=True)
        for name in names:
            (ebin / f"web_{name}.erl").write_text(f'-module(web_{name}).\n-vsn("{version}").\n')
        subprocess.run(["erlc", *(f"web_{name}.erl" for name in names)], cwd=ebin, check=True, timeout=60)
        listed = ",".join(f"web_{name}" for name in names)
        (ebin / "web.app").write_text(
            f'{{application,web,[{{description,"web"}},{{vsn,"{version}"}},{{modules,[{listed}]}},{{registered,[]}},'
            "{applications,[kernel,stdlib]}]}.",
        )
        more = "" if version == "1.0.0" else ',{crypto,"5.1.2"}'
        (folder / f"web-{version}.rel").write_text(
            f'{{release,{{"web","{version}"}},{{erts,"13.1.5"}},'
            f'[{{kernel,"8.5.3"}},{{stdlib,"4.2"}},{{sasl,"4.2"}},{{web,"{version}"}}{more}]}}.'
        )
    (folder / "lib/web-1.1.0/ebin/web.appup").write_text(APPUP)
    otps.run(
        "25",
        f'ok = systools:make_relup("{folder}/web-1.1.0", ["{folder}/web-1.0.0"], ["{folder}/web-1.0.0"],'
        f'[{{path, ["{folder}/lib/*/ebin"]}}, {{outdir, "{folder}"}}{options}])',
    )
    return (folder / "relup").read_bytes()


def test_a_relup_of_systools(tmp_path: Path) -> None:
    found = read_relup(systools_relup(tmp_path))
    up, down = found.ups["1.0.0"], found.downs["1.0.0"]
    assert found.version == "1.1.0"
    for script in (up, down):
        assert relup.faults(script) == ()
        assert not relup.restarts_emulator(script)
        assert not [words for words in map(in_words, script.instructions) if "unknown" in words]
    assert {"web_lib", "web_srv", "web_sup", "web_new"} <= set(relup.modules_loaded(up))
    assert relup.modules_removed(up) == ("web_old",)
    assert set(relup.suspended(up)) == {"web_srv", "web_sup"}
    assert ("web", "1.1.0") in [step.library for step in relup.objects(up)]
    assert "call application:start(crypto,permanent)" in map(in_words, up.instructions)
    assert "call application:stop(crypto)" in map(in_words, down.instructions)


def test_a_relup_that_restarts_the_vm(tmp_path: Path) -> None:
    found = read_relup(systools_relup(tmp_path, ", restart_emulator"))
    assert relup.restarts_emulator(found.ups["1.0.0"])
    assert relup.faults(found.ups["1.0.0"]) == ()
