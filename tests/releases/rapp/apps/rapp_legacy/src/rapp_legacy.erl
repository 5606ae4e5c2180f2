%% An application that 1.2.0 has no more: a registered process is all there is of it.
-module(rapp_legacy).
-behaviour(application).
-behaviour(supervisor).
-export([start/2, stop/1, init/1]).

start(_Type, _Args) -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).

stop(_State) -> ok.

init([]) -> {ok, {#{}, []}}.
