%% The state of rapp_srv in 1.0.0: {v1, Count}. The next version has no such module.
-module(rapp_v1).
-export([show/1]).

show({v1, N}) -> io_lib:format("v1 ~b", [N]).
