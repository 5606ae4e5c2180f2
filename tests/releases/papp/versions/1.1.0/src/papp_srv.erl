%% Counts; what it does beside that is demo.erl's.
-module(papp_srv).
-behaviour(gen_server).
-export([start_link/0, get/0, bump/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).

start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).
get() -> gen_server:call(?MODULE, get).
bump() -> gen_server:call(?MODULE, bump).

init([]) ->
    ok = demo:init(papp),
    {ok, {v2, 0}}.

handle_call(get, _From, State) -> {reply, State, State};
handle_call(bump, _From, {v2, N}) -> {reply, N + 1, {v2, N + 1}}.

handle_cast({sleep, Ms}, State) ->
    timer:sleep(Ms),
    {noreply, State}.

handle_info(Message, State) ->
    demo:handle(papp, Message),
    {noreply, State}.

terminate(_Reason, _State) -> demo:terminate(papp).

code_change({down, _Vsn}, {v2, N}, _Extra) -> {ok, {v1, N}};
code_change(_Vsn, {v1, N}, _Extra) -> {ok, {v2, N}}.
