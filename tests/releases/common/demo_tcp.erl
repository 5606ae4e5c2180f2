%% A TCP service on 127.0.0.1, on the port DEMO_TCP_PORT (0: any, printed as "NAME serving on PORT").
%% It accepts; each connection becomes a process of its own below demo_conns, in the release's own module:
%%
%%   Conn:start_link(Socket)   a gen_server; it becomes the owner of Socket, then gets {serve, Socket} as a cast
-module(demo_tcp).
-behaviour(gen_server).
-export([children/2, start_link/1]).
-export([init/1, handle_call/3, handle_cast/2]).

%% What a supervisor adds to its children; nothing where there is no port.
children(App, Conn) ->
    case os:getenv("DEMO_TCP_PORT", "") of
        "" -> [];
        _ -> [#{id => demo_conns, start => {demo_conns, start_link, [Conn]}, type => supervisor},
              #{id => demo_tcp, start => {demo_tcp, start_link, [App]}}]
    end.

start_link(App) -> gen_server:start_link({local, ?MODULE}, ?MODULE, App, []).

init(App) ->
    {ok, Listener} = gen_tcp:listen(list_to_integer(os:getenv("DEMO_TCP_PORT")),
                                    [{ip, {127, 0, 0, 1}}, {packet, line}, {active, false}, {nodelay, true},
                                     {reuseaddr, true}, {backlog, 128}]),
    {ok, Port} = inet:port(Listener),
    spawn_link(fun() -> accept(Listener) end),
    io:format(user, "~s serving on ~b~n", [App, Port]),
    {ok, Listener}.

handle_call(_Request, _From, Listener) -> {reply, ok, Listener}.

handle_cast(_Request, Listener) -> {noreply, Listener}.

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    {ok, Pid} = supervisor:start_child(demo_conns, [Socket]),
    case gen_tcp:controlling_process(Socket, Pid) of
        ok -> gen_server:cast(Pid, {serve, Socket});
        {error, _} -> exit(Pid, kill)  % the client is gone already
    end,
    accept(Listener).
