%% What the sample applications do when they are told to, by DEMO_* variables of the
%% OS environment read at start. The same file is compiled into rapp, papp and mapp.
%%
%%   DEMO_BOOT_MS          start/2 takes this long          DEMO_BOOT_FAIL   start/2 fails, with this reason
%%   DEMO_LINES            print this many numbered lines   DEMO_LINE_BYTES  pad each to this length
%%   DEMO_TICK_MS          print "NAME tick N" this often
%%   DEMO_PORT_PROGRAM     a command line run as a port ("sleep 9999", "setsid -f sleep 9999")
%%   DEMO_CRASH_AFTER_MS   crash then, in the way of        DEMO_CRASH       app (default) | halt:N | dump | abort
%%   DEMO_CRASH_UNLESS     but not if this file exists; it is made by the crash
%%   DEMO_STOP_MS          terminate/2 takes this long, or "infinity"
%%   DEMO_IGNORE_STOP      SIGTERM is ignored
%%   DEMO_HTTP_PORT        an HTTP server on 127.0.0.1 (see http/3); 0: any, printed
%%   DEMO_HTTP_STATUS      what /health answers at first    (default 200)
%%   DEMO_READY_FILE       ready/0 is false until this file exists
%%   DEMO_TCP_PORT         the service of demo_tcp, in rapp and mapp: what changes between their versions is seen there
%%
%% Lines printed: "NAME VSN starting", "NAME VSN started greeting=G", "NAME tick N", "NAME line N ...",
%% "NAME port program OS_PID", "NAME listening on PORT", "NAME crashing HOW", "NAME stopping", "NAME stopped".
-module(demo).
-export([boot/1, init/1, handle/2, terminate/1, lines/2, ready/0, command/2]).

%% In start/2, before the supervisor: {error, Reason} fails the boot.
boot(App) ->
    print(App, "~s starting", [vsn(App)]),
    timer:sleep(int("DEMO_BOOT_MS", 0)),
    os:getenv("DEMO_IGNORE_STOP", "") =/= "" andalso os:set_signal(sigterm, ignore),
    case os:getenv("DEMO_BOOT_FAIL", "") of
        "" -> ok;
        Why -> {error, Why}
    end.

%% In the server's init/1; its owner passes every {demo, _} and port message to handle/2.
init(App) ->
    process_flag(trap_exit, true),
    application:set_env(App, http_status, int("DEMO_HTTP_STATUS", 200)),
    [listen(App, list_to_integer(P)) || P <- value("DEMO_HTTP_PORT")],
    [port_program(App, Cmd) || Cmd <- value("DEMO_PORT_PROGRAM")],
    [lines(App, list_to_integer(N)) || N <- value("DEMO_LINES")],
    [erlang:send_after(list_to_integer(T), self(), {demo, crash}) || T <- value("DEMO_CRASH_AFTER_MS")],
    [self() ! {demo, {tick, 1}} || _ <- value("DEMO_TICK_MS")],
    print(App, "~s started greeting=~s", [vsn(App), application:get_env(App, greeting, "none")]),
    ok.

handle(App, {demo, {tick, N}}) ->
    print(App, "tick ~b", [N]),
    erlang:send_after(int("DEMO_TICK_MS", 1000), self(), {demo, {tick, N + 1}}),
    ok;
handle(App, {demo, crash}) ->
    case value("DEMO_CRASH_UNLESS") of
        [File] ->
            case file:open(File, [write, exclusive]) of
                {ok, _} -> crash(App, os:getenv("DEMO_CRASH", "app"));
                {error, eexist} -> ok
            end;
        [] ->
            crash(App, os:getenv("DEMO_CRASH", "app"))
    end;
handle(_App, _Other) ->
    ok.

terminate(App) ->
    print(App, "stopping", []),
    case os:getenv("DEMO_STOP_MS", "0") of
        "infinity" -> timer:sleep(infinity);
        Ms -> timer:sleep(list_to_integer(Ms))
    end,
    print(App, "stopped", []).

%% What `ready = "mfa:demo:ready"` asks.
ready() ->
    lists:all(fun filelib:is_regular/1, value("DEMO_READY_FILE")).

%% What every version of rapp and mapp answers on a connection; their own commands stand in rapp_conn and Mapp.Conn.
%%
%%   version               of the application               config KEY       its value, or undefined
command(App, ["version"]) -> vsn(App);
command(App, ["config", Key]) -> io_lib:format("~0p", [application:get_env(App, list_to_atom(Key), undefined)]);
command(_App, _) -> "what?".

%% Numbered lines, in order, each whole: what a log must hold after any accident.
lines(App, Count) ->
    Width = int("DEMO_LINE_BYTES", 0),
    [print(App, "line ~b ~s", [N, lists:duplicate(max(0, Width - 7 - length(atom_to_list(App))
        - length(integer_to_list(N))), $x)]) || N <- lists:seq(1, Count)],
    ok.

crash(App, How) ->
    print(App, "crashing ~s", [How]),
    case How of
        "app" -> exit(application_controller:get_master(App), kill);  % a permanent app that ends, ends the VM
        "halt:" ++ Code -> erlang:halt(list_to_integer(Code));
        "dump" -> erlang:halt("demo crash");
        "abort" -> erlang:halt(abort)
    end.

port_program(App, Command) ->
    Port = open_port({spawn, Command}, [exit_status]),
    case erlang:port_info(Port, os_pid) of
        {os_pid, Pid} -> print(App, "port program ~b", [Pid]);
        undefined -> print(App, "port program gone", [])
    end.

listen(App, Port) ->
    {ok, Socket} = gen_tcp:listen(Port, [{ip, {127, 0, 0, 1}}, {packet, http_bin}, {active, false},
                                         {reuseaddr, true}, {backlog, 128}]),
    {ok, Bound} = inet:port(Socket),
    spawn_link(fun() -> accept(App, Socket) end),  % the server owns the socket: it closes with it
    print(App, "listening on ~b", [Bound]).

accept(App, Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Pid = spawn(fun() -> receive go -> serve(App, Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Pid),
    Pid ! go,
    accept(App, Listener).

serve(App, Socket) ->
    case gen_tcp:recv(Socket, 0, 5000) of
        {ok, {http_request, _, {abs_path, Path}, _}} ->
            {Status, Body} = http(App, string:lexemes(binary_to_list(Path), "/"), Socket),
            gen_tcp:send(Socket, io_lib:format(
                "HTTP/1.1 ~b Demo\r\nContent-Length: ~b\r\nConnection: close\r\n\r\n~s",
                [Status, iolist_size(Body), Body]));
        _ ->
            ok
    end,
    gen_tcp:close(Socket).

%% GET /health          200, or what /status set      GET /status/N     sets it
%% GET /version         the running version           GET /lines/N      print N lines
%% GET /crash/HOW       as DEMO_CRASH                 GET /hang         accept, never answer
%% GET /env             the OS environment, a line each
%% GET /fds             how many descriptors the VM may open
http(App, ["health"], _) -> {application:get_env(App, http_status, 200), "health\n"};
http(App, ["status", N], _) -> application:set_env(App, http_status, list_to_integer(N)), {200, "set\n"};
http(App, ["version"], _) -> {200, [vsn(App), "\n"]};
http(App, ["lines", N], _) -> lines(App, list_to_integer(N)), {200, "printed\n"};
http(App, ["crash", How], _) -> crash(App, How), {200, "crashing\n"};
http(_App, ["hang"], _) -> timer:sleep(infinity);
http(_App, ["env"], _) -> {200, [[Line, "\n"] || Line <- os:getenv()]};
http(_App, ["fds"], _) -> {200, io_lib:format("~b~n", [max_fds(erlang:system_info(check_io))])};
http(_App, _, _) -> {404, "not found\n"}.

%% One poll set's report, or a list of such.
max_fds([[_ | _] = Report | _]) -> max_fds(Report);
max_fds(Report) -> proplists:get_value(max_fds, Report).

print(App, Format, Args) ->
    io:format(user, "~s " ++ Format ++ "~n", [App | Args]).

vsn(App) ->
    {ok, Vsn} = application:get_key(App, vsn),
    Vsn.

value(Name) ->
    case os:getenv(Name, "") of
        "" -> [];
        Value -> [Value]
    end.

int(Name, Default) ->
    list_to_integer(os:getenv(Name, integer_to_list(Default))).
