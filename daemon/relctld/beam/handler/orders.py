"""What a node is told to do during an upgrade.

Rule: what takes long or must outlive us runs in a process of its own, `relctl_upgrade`, which keeps its result in its
      dictionary, where it can be read (`questions.SURVEY`) while release_handler is busy. It is gone when the VM
      restarts itself: so an order without a trace was never given in this boot.

What is called beyond the documented interfaces stands in every OTP from 22 to 28: application_controller's change of
data, and `sasl_sup` as the name of release_handler's supervisor.
"""

from typing import Final

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
