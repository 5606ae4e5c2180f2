%% The state of rapp_srv since 1.1.0: {v2, Count, BumpsSinceUpgrade}.
-module(rapp_v2).
-export([show/1, migrate/1, ready/0]).

show({v2, N, _}) -> io_lib:format("v2 ~b", [N]).

migrate({v1, N}) -> {v2, N, 0}.

ready() -> true.
