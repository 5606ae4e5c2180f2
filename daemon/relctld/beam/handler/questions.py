"""What a node is asked during an upgrade. The answer changes nothing in it.

What is called beyond the documented interfaces stands in every OTP from 22 to 28: release_handler_1's walk through the
supervisors.
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
