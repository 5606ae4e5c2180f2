"""release_handler in a running node: what is said to it during a hot upgrade, and what is made of its answers.

    orders      Erlang that changes something there, one expression each, its variables bound by the caller
    questions   the same that only asks
    replies     the answers as values

Rule 1: nothing of ours is loaded into the node: erl_scan, erl_parse and erl_eval are in every release (stdlib).
Rule 2: no answer carries a value of the node's configuration; but HYBRID makes one, which a boot needs.
Rule 3: nothing here is sent or received; `supervisor.upgrades` does that.
"""
