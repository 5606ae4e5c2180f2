%% The connections of demo_tcp: one that ends is not started again.
-module(demo_conns).
-behaviour(supervisor).
-export([start_link/1, init/1]).

start_link(Conn) -> supervisor:start_link({local, ?MODULE}, ?MODULE, Conn).

init(Conn) ->
    {ok, {#{strategy => simple_one_for_one},
          [#{id => Conn, start => {Conn, start_link, []}, restart => temporary}]}}.
