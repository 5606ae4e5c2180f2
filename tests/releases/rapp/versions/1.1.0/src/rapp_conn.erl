%% A connection of demo_tcp: a line is a command, its answer is a line.
%%
%%   bump         count, and say the number          sleep MS     the counter does nothing else for so long
%%   state        version of the state, and count    linger MS    a process stays in the counter's code for so long
%%   bumps        how many since the upgrade
-module(rapp_conn).
-behaviour(gen_server).
-export([start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

start_link(Socket) -> gen_server:start_link(?MODULE, Socket, []).

init(Socket) -> {ok, Socket}.

handle_call(_Request, _From, Socket) -> {reply, ok, Socket}.

handle_cast({serve, Socket}, Socket) ->
    inet:setopts(Socket, [{active, once}]),
    {noreply, Socket}.

handle_info({tcp, Socket, Line}, Socket) ->
    gen_tcp:send(Socket, [answer(string:lexemes(Line, " \r\n")), "\n"]),
    inet:setopts(Socket, [{active, once}]),
    {noreply, Socket};
handle_info({tcp_closed, Socket}, Socket) ->
    {stop, normal, Socket};
handle_info({tcp_error, Socket, _}, Socket) ->
    {stop, normal, Socket}.

answer(["bump"]) -> integer_to_list(rapp_srv:bump());
answer(["state"]) -> rapp_srv:state();
answer(["bumps"]) -> integer_to_list(rapp_srv:bumps());
answer(["sleep", Ms]) -> rapp_srv:sleep(list_to_integer(Ms)), "ok";
answer(["linger", Ms]) -> rapp_srv:linger(list_to_integer(Ms)), "ok";
answer(Words) -> demo:command(rapp, Words).
