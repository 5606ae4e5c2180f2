"""The Erlang that a node evaluates during an upgrade: one expression each, its variables bound by the caller.

Rule 1: nothing of ours is loaded into the node: erl_scan, erl_parse and erl_eval are in every release (stdlib).
Rule 2: what takes long or must outlive us runs in a process of its own, `relctl_upgrade`, which keeps its result in
        its dictionary, where it can be read while release_handler is busy. It is gone when the VM restarts itself:
        so an order without a trace was never given in this boot.
Rule 3: no answer carries a value of the node's configuration.

What is called beyond the documented interfaces stands in every OTP from 22 to 28: release_handler_1's walk through the
supervisors, application_controller's change of data, and `sasl_sup` as the name of release_handler's supervisor.
"""

from typing import Final

SURVEY: Final = """
(fun() ->
    Order = case whereis(relctl_upgrade) of
        undefined -> none;
        Pid ->
            case process_info(Pid, dictionary) of
                {dictionary, Kept} -> proplists:get_value(relctl, Kept, none);
                undefined -> none
            end
    end,
    Busy = case Order of {_, _, pending} -> true; _ -> false end,
    Releases = case {Busy, whereis(release_handler)} of
        {true, _} -> busy;
        {false, undefined} -> none;
        _ -> [{Vsn, Status} || {_, Vsn, _, Status} <- release_handler:which_releases()]
    end,
    Elsewhere = case {application:get_env(sasl, releases_dir), os:getenv("RELDIR")} of
        {{ok, Told}, _} -> Told;
        {undefined, false} -> [];
        {undefined, RelDir} -> RelDir
    end,
    {Order, Releases, Elsewhere}
end)()."""
"""{Order, Releases, Elsewhere}. Order: none | {Tag, Vsn, pending | ok | {error, Text}}.
Releases: busy | none | [{Vsn, Status}]. Elsewhere: a string, where release_handler looks if that is not the tree."""

INSTALL: Final = """
(fun() ->
    Caller = self(),
    Own = [no_such_release, no_such_file, no_such_directory, no_matching_relup, bad_relup_file, bad_lib_vsn, enoent],
    Picture = fun
        (_, _, 0) -> '...';
        (_, {M, F, Args, L}, _) when is_atom(M), is_atom(F), is_list(Args), is_list(L) -> {M, F, length(Args)};
        (_, {M, F, Arity, L}, _) when is_atom(M), is_atom(F), is_integer(Arity), is_list(L) -> {M, F, Arity};
        (_, #{'__exception__' := true, '__struct__' := Kind, module := M, function := F, arity := A}, _)
            when is_atom(M), is_atom(F), is_integer(A) -> {Kind, {M, F, A}};
        (_, #{'__exception__' := true, '__struct__' := Kind}, _) when is_atom(Kind) -> Kind;
        (P, Tuple, D) when is_tuple(Tuple) -> list_to_tuple([P(P, X, D - 1) || X <- tuple_to_list(Tuple)]);
        (P, [X | _], D) when not is_integer(X) -> [P(P, X, D - 1), '...'];
        (_, Plain, _) when is_atom(Plain); is_pid(Plain); Plain =:= [] -> Plain;
        (_, _, _) -> '_'
    end,
    Say = fun(Term) ->
        Short = case Term of
            {'EXIT', {Cause, [{_, _, _, _} | _]}} when not is_map(Cause) -> Cause;
            _ -> Term
        end,
        IsOwn = is_tuple(Short) andalso lists:member(element(1, Short), Own),
        Shown = case IsOwn of true -> Short; false -> Picture(Picture, Short, 8) end,
        unicode:characters_to_binary(io_lib:format("~0tP", [Shown, 40]))
    end,
    Explain = fun
        ({old_processes, M}) ->
            Held = [Pid || Pid <- processes(), erlang:check_process_code(Pid, M) =:= true],
            Format = "processes that still run the old ~ts, which may not be killed: ~0tp",
            unicode:characters_to_binary(io_lib:format(Format, [M, lists:sublist(Held, 20)]));
        (Why) ->
            Say(Why)
    end,
    Leave = fun(L, Ms, Left) ->
        case [M || M <- Ms, not code:soft_purge(M)] of
            [] -> ok;
            Held when Left > 0 -> timer:sleep(50), L(L, Held, Left - 50);
            Held -> [code:purge(M) || M <- Held]
        end
    end,
    SetOne = fun({Name, unset}) -> os:unsetenv(Name); ({Name, Value}) -> os:putenv(Name, Value) end,
    Set = fun(Pairs) -> [SetOne(Pair) || Pair <- Pairs] end,
    Work = fun() ->
        true = register(relctl_upgrade, self()),
        put(relctl, {Tag, Vsn, pending}),
        Caller ! {self(), begun},
        Set(Env),
        Result = case catch release_handler:install_release(Vsn, Options) of
            {ok, _, _} -> ok;
            {'EXIT', Reason} -> {error, Reason};
            {error, Reason} -> {error, Reason};
            Other -> {error, Other}
        end,
        case Result of
            ok ->
                Leave(Leave, Purge, Grace),
                put(relctl, {Tag, Vsn, ok});
            {error, Why} ->
                Set(EnvBefore),
                error_logger:error_msg("relctl: ~ts cannot be installed: ~0tP~n", [Vsn, Why, 200]),
                put(relctl, {Tag, Vsn, {error, Explain(Why)}})
        end,
        Caller ! {self(), ended},
        receive {relctl, done} -> ok end
    end,
    Again = case whereis(relctl_upgrade) of
        undefined -> false;
        Pid ->
            case process_info(Pid, dictionary) of
                {dictionary, Kept} ->
                    case proplists:get_value(relctl, Kept, none) of
                        {Tag, Vsn, _} -> true;
                        {_, _, pending} -> busy;
                        _ -> exit(Pid, kill), false
                    end;
                undefined -> false
            end
    end,
    case Again of
        true -> ok;
        busy -> busy;
        false ->
            Wait = fun(W) -> case whereis(relctl_upgrade) of undefined -> ok; _ -> timer:sleep(1), W(W) end end,
            Wait(Wait),
            {Worker, Mon} = spawn_monitor(Work),
            receive
                {Worker, begun} ->
                    receive {Worker, ended} -> ok; {'DOWN', Mon, process, Worker, _} -> ok after Patience -> ok end;
                {'DOWN', Mon, process, Worker, Early} ->
                    {error, Say(Early)}
            end
    end
end)()."""
"""Tag: binary; Vsn: string; Options: those of install_release/2; Env, EnvBefore: [{string, string | unset}];
Purge: [atom], modules of which who stays in the replaced code is killed after Grace ms: release_handler's own
brutal_purge, which it puts off until a release is made permanent; Patience: ms in which an early end is waited for.
ok | busy | {error, Text}. Repeated for the same tag and version it does nothing.

Why it failed may hold a process's state, its arguments or a message: only `Own`, release_handler's reasons, are told
whole; of all others the picture: atoms, pids, functions with their arity. Of an exception of Elixir its name and the
functions, for its message may quote any value. All of it goes to the node's own log, where its crashes are too."""

RELEASE: Final = """
(fun() ->
    case whereis(relctl_upgrade) of undefined -> ok; Pid -> exit(Pid, kill), ok end
end)()."""
"""The process that kept the result may go."""

REREAD: Final = """
(fun() ->
    case {RelDir, os:getenv("RELDIR")} of
        {{to, Elsewhere}, _} -> os:putenv("RELDIR", Elsewhere);
        {{from, Elsewhere}, Elsewhere} -> os:unsetenv("RELDIR");
        _ -> ok
    end,
    ok = supervisor:terminate_child(sasl_sup, release_handler),
    {ok, _} = supervisor:restart_child(sasl_sup, release_handler),
    ok
end)()."""
"""release_handler reads RELEASES, which it otherwise does only once. RelDir: {to, string}, from now on that of
another place | {from, string}, no more that of that place."""

PERMANENT: Final = """
(fun() ->
    case {RelDir, os:getenv("RELDIR")} of
        {{from, Elsewhere}, Elsewhere} -> os:unsetenv("RELDIR");
        _ -> ok
    end,
    ok = supervisor:terminate_child(sasl_sup, release_handler),
    {ok, _} = supervisor:restart_child(sasl_sup, release_handler),
    ok = init:make_permanent(Boot, Config),
    ok
end)()."""
"""Boot: string, without .boot; Config: string, without .config; RelDir: {from, string}, as of REREAD. All of
release_handler:make_permanent/1 but two things: the files are written already, and atomically; what it would purge was
purged with the install."""

REPAIR: Final = """
(fun() ->
    {ok, Boot} = file:read_file(BootFile),
    {script, _, Script} = binary_to_term(Boot),
    Load = fun
        ({kernelProcess, application_controller, {application_controller, start, [App]}}, Apps) -> [App | Apps];
        ({apply, {application, load, [App]}}, Apps) -> [App | Apps];
        (_, Apps) -> Apps
    end,
    Apps = lists:foldl(Load, [], Script),
    Config = case file:consult(ConfigFile) of {ok, [Terms]} -> Terms; {error, enoent} -> [] end,
    Before = application_controller:prep_config_change(),
    ok = application_controller:change_application_data(Apps, Config),
    _ = application_controller:config_change(Before),
    [os:putenv(Name, Value) || {Name, Value} <- Env],
    ok
end)()."""
"""Gives the applications the versions and the environment of a version again, of which an install that failed early
took them: release_handler changes them first, and does not change them back. BootFile, ConfigFile: strings."""

HYBRID: Final = """
(fun() ->
    Read = fun(File) -> {ok, Data} = file:read_file(File), Data end,
    Terms = fun(File) -> case file:consult(File) of {ok, [Found]} -> Found; {error, enoent} -> [] end end,
    case systools_make:make_hybrid_boot(Version, Read(FromBoot), Read(ToBoot), []) of
        {ok, Made} ->
            {script, Id, Script} = binary_to_term(Made),
            IsUpgrade = fun({apply, {release_handler, new_emulator_upgrade, _}}) -> true; (_) -> false end,
            Boot = {script, Id, [Each || Each <- Script, not IsUpgrade(Each)]},
            New = Terms(ToConfig),
            Take = fun(App, Config) ->
                case lists:keyfind(App, 1, New) of
                    false -> lists:keydelete(App, 1, Config);
                    Found -> lists:keystore(App, 1, Config, Found)
                end
            end,
            Mixed = lists:foldl(Take, Terms(FromConfig), [kernel, stdlib, sasl]),
            Config = [{App, [Pair || {Key, _} = Pair <- Pairs, {App, Key} =/= {elixir, config_provider_init}]}
                || {App, Pairs} <- Mixed],
            Text = io_lib:format("%% coding: utf-8~n~tp.~n", [Config]),
            {term_to_binary(Boot, [compressed]), unicode:characters_to_binary(Text)};
        {error, Why} ->
            {error, unicode:characters_to_binary(io_lib:format("~0tP", [Why, 20]))}
    end
end)()."""
"""Version (as the boot script is called), FromBoot, ToBoot, FromConfig, ToConfig: strings. {Boot, Config}, binaries:
what release_handler makes for restart_new_emulator (new_emulator_make_tmp_release), but the boot does not go on with
the relup by itself: that is ordered, as any install is. What Elixir's providers would compute is in the configurations
already. | {error, Text}"""

VERIFY: Final = """
(fun() ->
    Say = fun(Format, Args) -> unicode:characters_to_binary(io_lib:format(Format, Args)) end,
    Loaded = [{App, Vsn} || {App, _, Vsn} <- application:loaded_applications()],
    Versions = [case lists:keyfind(App, 1, Loaded) of
        {_, Vsn} -> none;
        {_, Other} -> Say("~ts is ~ts, not ~ts", [App, Other, Vsn]);
        false -> none
    end || {App, Vsn} <- Apps],
    Running = [App || {App, _, _} <- application:which_applications(5000)],
    Gone = [Say("~ts is still running", [App]) || App <- Removed, lists:member(App, Running)],
    Missing = [Say("~ts is not running", [App]) || App <- Added, not lists:member(App, Running)],
    IsSame = fun(File) ->
        case lists:reverse(filename:split(File)) of
            [_, "ebin", Folder | _] -> lists:member(Folder, Same);
            _ -> false
        end
    end,
    Modified = [Say("the loaded ~ts is not the one on disk", [M])
        || {M, File} <- code:all_loaded(), is_list(File), lists:member(M, Modules) orelse not IsSame(File),
           not lists:member(M, Except), code:module_status(M) =:= modified],
    Config = case ConfigFile =/= [] andalso file:consult(ConfigFile) of
        false ->
            [];
        {ok, [Terms]} ->
            [Say("~ts: ~ts is not as configured", [App, io_lib:format("~0tp", [Key])])
                || {App, Keys} <- Terms, lists:keymember(App, 1, Loaded), {Key, Value} <- Keys,
                   application:get_env(App, Key) =/= {ok, Value}];
        {error, Why} ->
            [Say("its configuration cannot be read: ~ts", [file:format_error(Why)])]
    end,
    Name = fun(Pid) ->
        case process_info(Pid, registered_name) of
            {registered_name, Registered} -> io_lib:format("~0tp", [Registered]);
            _ -> pid_to_list(Pid)
        end
    end,
    Old = [Say("~ts still runs the old ~ts", [Name(Pid), M])
        || M <- Modules, erlang:check_old_code(M), Pid <- processes(), erlang:check_process_code(Pid, M) =:= true],
    Supervised = [Pid || {_, _, Pid, Mods} <- release_handler_1:get_supervised_procs(),
        Mods =:= dynamic orelse (is_list(Mods) andalso lists:any(fun(M) -> lists:member(M, Suspended) end, Mods))],
    Suspension = fun(Pid) ->
        case catch sys:get_status(Pid, 500) of
            {status, _, _, [_, suspended | _]} -> true;
            _ -> false
        end
    end,
    Asleep = [Say("~ts is still suspended", [Name(Pid)]) || Pid <- lists:sublist(Supervised, 200), Suspension(Pid)],
    Few = fun(Texts) -> lists:sublist(Texts, 20) end,
    {[V || V <- Versions, V =/= none] ++ Gone ++ Missing ++ Few(Modified) ++ Few(Config) ++ Few(Asleep), Few(Old)}
end)()."""
"""Apps: [{atom, string}]; Removed, Added, Modules, Suspended, Except: [atom]; ConfigFile: string; Same: [string], the
directories ("kernel-8.5") of applications that did not change: of their modules only those in Modules are compared.
An empty ConfigFile: the environment is not looked at, for what runs for a while may change it.
{[Text], [Text]}: what is wrong, and who still runs old code, which may leave it in a moment."""

BOOTED: Final = """
(fun() ->
    {_, Booted} = init:script_id(),
    Loaded = [{App, Vsn} || {App, _, Vsn} <- application:loaded_applications()],
    Say = fun(Format, Args) -> unicode:characters_to_binary(io_lib:format(Format, Args)) end,
    Others = [Say("~ts is ~ts, not ~ts", [App, Other, Vsn])
        || {App, Vsn} <- Apps, {_, Other} <- [lists:keyfind(App, 1, Loaded)], Other =/= Vsn],
    Here = erlang:system_info(version),
    [Say("it was booted by ~ts, not ~ts", [Booted, Version]) || Booted =/= Version]
        ++ [Say("its ERTS is ~ts, not ~ts", [Here, Erts]) || Erts =/= [], Erts =/= Here] ++ lists:sublist(Others, 20)
end)()."""
"""Version: string; Apps: [{atom, string}]; Erts: string, empty where any will do. [Text]: what is wrong with a node
that was started as this version."""

PROTOCOLS: Final = """
(fun() ->
    case file:list_dir(To) of
        {error, _} ->
            [];
        {ok, Files} ->
            _ = code:del_path(From),
            true = code:add_patha(To),
            Beams = [File || File <- Files, filename:extension(File) =:= ".beam"],
            Modules = [list_to_atom(filename:basename(File, ".beam")) || File <- Beams],
            Stale = fun(M) ->
                {ok, {M, OnDisk}} = beam_lib:md5(filename:join(To, atom_to_list(M) ++ ".beam")),
                code:is_loaded(M) =:= false orelse M:module_info(md5) =/= OnDisk
            end,
            Load = fun(M) ->
                code:soft_purge(M) andalso element(1, code:load_file(M)) =:= module
            end,
            [atom_to_binary(M, utf8) || M <- Modules, Stale(M), not Load(M)]
    end
end)()."""
"""From, To: the old and the new version's `consolidated` directory, strings. The protocols that could not be loaded."""

PROCESSES: Final = """
(fun() ->
    Name = fun(Pid) ->
        case process_info(Pid, registered_name) of
            {registered_name, Registered} -> unicode:characters_to_binary(io_lib:format("~0tp", [Registered]));
            _ -> list_to_binary(pid_to_list(Pid))
        end
    end,
    Meant = fun(Mods) -> is_list(Mods) andalso lists:any(fun(M) -> lists:member(M, Suspended) end, Mods) end,
    Found = [{Pid, Mods} || {_, _, Pid, Mods} <- release_handler_1:get_supervised_procs(), Meant(Mods)],
    Me = self(),
    Ask = fun({Pid, Mods}) ->
        Ref = make_ref(),
        spawn(fun() ->
            Busy = case catch sys:get_status(Pid, Patience) of {status, _, _, _} -> false; _ -> true end,
            Me ! {Ref, {Name(Pid), [atom_to_binary(M, utf8) || M <- Mods], Busy}}
        end),
        Ref
    end,
    Asked = [Ask(Each) || Each <- lists:sublist(Found, 100)],
    Answers = [receive {Ref, Answer} -> Answer after Patience * 2 + 1000 -> {<<"?">>, [], true} end || Ref <- Asked],
    Text = fun(M) -> atom_to_binary(M, utf8) end,
    Old = fun(Modules) ->
        [{Name(Pid), Text(M)} || M <- Modules, erlang:check_old_code(M), Pid <- processes(),
            erlang:check_process_code(Pid, M) =:= true]
    end,
    Others = case Replaced of [] -> []; _ -> lists:sublist(processes() -- [Pid || {Pid, _} <- Found], 20000) end,
    Inside = fun(Pid) ->
        case process_info(Pid, current_stacktrace) of
            {current_stacktrace, Stack} -> lists:usort([M || {M, _, _, _} <- Stack, lists:member(M, Replaced)]);
            undefined -> []
        end
    end,
    Staying = [{Name(Pid), Text(M)} || Pid <- Others, M <- Inside(Pid)],
    {length(Found), Answers, [lists:sublist(Each, 100) || Each <- [Old(Killed), Old(Spared), Staying]]}
end)()."""
"""Suspended, Killed, Spared, Replaced: [atom]; Patience: ms. {Count, [{Name, [Module], Busy}], [[{Name, Module}]]}: who
will be suspended; who runs code that is old already, and is killed (of Killed), or is in the way (of Spared); who is in
code that will be replaced (of Replaced), and is killed if it stays there."""
