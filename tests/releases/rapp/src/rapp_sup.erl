-module(rapp_sup).
-behaviour(supervisor).
-export([start_link/0, init/1]).

start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% shutdown: infinity, so that DEMO_STOP_MS alone says how long a stop takes.
init([]) ->
    {ok, {#{strategy => one_for_one, intensity => 1, period => 5},
          [#{id => rapp_srv, start => {rapp_srv, start_link, []}, shutdown => infinity}
           | demo_tcp:children(rapp, rapp_conn)]}}.
