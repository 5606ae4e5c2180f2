#!/usr/bin/env escript
%% Usage: make_release.escript VSN ROOT, in a copy of this directory: makes a target system with
%% systools alone, as OTP's "Creating and Upgrading a Target System" does, unpacked at ROOT.
main([Vsn, Root]) ->
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
    Path = [{path, ["ebin"]}],
    ok = systools:make_script("papp", Path),
    ok = systools:make_tar("papp", [{erts, code:root_dir()} | Path]),
    ok = erl_tar:extract("papp.tar.gz", [{cwd, Root}, compressed]),
    Releases = filename:join(Root, "releases"),
    {ok, _} = file:copy("vm.args", filename:join([Releases, Vsn, "vm.args"])),
    ok = file:write_file(filename:join(Releases, "start_erl.data"), [Erts, " ", Vsn, "\n"]),
    ok = release_handler:create_RELEASES(Root, Releases, filename:join(Releases, "papp.rel"), []).

vsn(App) ->
    _ = application:load(App),
    {ok, Vsn} = application:get_key(App, vsn),
    Vsn.

write(File, Term) ->
    ok = file:write_file(File, io_lib:format("~p.~n", [Term])).
