-module(rapp_app).
-behaviour(application).
-export([start/2, stop/1]).

start(_Type, _Args) ->
    case demo:boot(rapp) of
        ok -> rapp_sup:start_link();
        Error -> Error
    end.

stop(_State) ->
    ok.
