%% Counts, and counts the bumps since it was upgraded; what it does beside that is demo.erl's.
-module(rapp_srv).
-behaviour(gen_server).
-export([start_link/0, get/0, bump/0, state/0, bumps/0, sleep/1, linger/1, ready/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).

start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).
get() -> gen_server:call(?MODULE, get).
bump() -> gen_server:call(?MODULE, bump, infinity).
state() -> gen_server:call(?MODULE, state, infinity).
bumps() -> gen_server:call(?MODULE, bumps, infinity).
sleep(Ms) -> gen_server:cast(?MODULE, {sleep, Ms}).
linger(Ms) -> spawn(fun() -> timer:sleep(Ms), ok end).
ready() -> rapp_v2:ready().

init([]) ->
    ok = demo:init(rapp),
    {ok, {v2, 0, 0}}.

handle_call(get, _From, State) -> {reply, State, State};
handle_call(state, _From, State) -> {reply, rapp_v2:show(State), State};
handle_call(bumps, _From, {v2, _, Bumps} = State) -> {reply, Bumps, State};
handle_call(bump, _From, {v2, N, Bumps}) -> {reply, N + 1, {v2, N + 1, Bumps + 1}}.

handle_cast({sleep, Ms}, State) ->
    timer:sleep(Ms),
    {noreply, State}.

handle_info(Message, State) ->
    demo:handle(rapp, Message),
    {noreply, State}.

terminate(_Reason, _State) -> demo:terminate(rapp).

code_change({down, _New}, {v2, N, _Bumps}, _Extra) -> {ok, {v1, N}};
code_change(_Old, {v1, _} = State, _Extra) -> {ok, rapp_v2:migrate(State)}.
