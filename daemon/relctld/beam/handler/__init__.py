"""release_handler in a running node: what is said to it during a hot upgrade, and what is made of its answers.

`texts`: the Erlang that is evaluated there, one expression each. `replies`: their answers as values. Nothing here is
sent or received; `supervisor.upgrades` does that.
"""
