#!/usr/bin/env escript
%% Usage, in a copy of this directory: makes a target system with systools alone, as OTP's "Creating and Upgrading a
%% Target System" does.
%%    make_release.escript VSN ROOT             unpacked at ROOT
%%    make_release.escript VSN TARBALL BEFORE   packed, with a relup from the one unpacked at BEFORE, and back
main([Vsn, Root]) ->
    Erts = package(Vsn, []),
    ok = erl_tar:extract("papp.tar.gz", [{cwd, Root}, compressed]),
    Releases = filename:join(Root, "releases"),
    ok = file:write_file(filename:join(Releases, "start_erl.data"), [Erts, " ", Vsn, "\n"]),
    ok = release_handler:create_RELEASES(Root, Releases, filename:join(Releases, "papp.rel"), []);
main([Vsn, Tarball, Before]) ->
    package(Vsn, [Before]),
    ok = file:rename("papp.tar.gz", Tarball).

%% Makes papp.tar.gz; the version of its ERTS.
package(Vsn, Befores) ->
    ok = file:make_dir("ebin"),
    [{ok, _} = compile:file(F, [report, warnings_as_errors, deterministic, debug_info, {outdir, "ebin"}])
     || F <- filelib:wildcard("src/*.erl")],
    {ok, [{application, papp, Keys}]} = file:consult("src/papp.app.src"),
    Modules = [list_to_atom(filename:basename(F, ".beam")) || F <- filelib:wildcard("ebin/*.beam")],
    write("ebin/papp.app", {application, papp, [{modules, lists:sort(Modules)}
                                                | lists:keystore(vsn, 1, Keys, {vsn, Vsn})]}),
    Erts = erlang:system_info(version),
    write("papp.rel", {release, {"papp", Vsn}, {erts, Erts},
                       [{App, vsn(App)} || App <- [kernel, stdlib, sasl]] ++ [{papp, Vsn}]}),
    Path = [{path, ["ebin" | [filename:join(Before, "lib/*/ebin") || Before <- Befores]]}],
    ok = systools:make_script("papp", Path),
    [relup(Before, Path) || Before <- Befores],
    VmArgs = {"vm.args", filename:join(["releases", Vsn, "vm.args"])},
    ok = systools:make_tar("papp", [{erts, code:root_dir()}, {extra_files, [VmArgs]} | Path]),
    Erts.

relup(Before, Path) ->
    {ok, _} = file:copy("papp.appup", "ebin/papp.appup"),
    Rel = filename:join(Before, "releases/papp"),
    ok = systools:make_relup("papp", [Rel], [Rel], Path).

vsn(App) ->
    _ = application:load(App),
    {ok, Vsn} = application:get_key(App, vsn),
    Vsn.

write(File, Term) ->
    ok = file:write_file(File, io_lib:format("~p.~n", [Term])).
