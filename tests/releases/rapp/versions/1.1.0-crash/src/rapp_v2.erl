%% The state of rapp_srv since 1.1.0: {v2, Count, BumpsSinceUpgrade}; here a bomb ticks after the migration.
-module(rapp_v2).
-export([show/1, migrate/1, ready/0]).

show({v2, N, _}) -> io_lib:format("v2 ~b", [N]).

migrate({v1, N}) ->
    erlang:send_after(list_to_integer(os:getenv("DEMO_SOAK_MS", "2000")), self(), {demo, crash}),
    {v2, N, 0}.

ready() -> true.
