"""The nodes: the way to each, one link, what is asked over it, and what it tells.

    whereabouts.py   a living VM's name, port, cookie and TLS, from /proc and its files (blocks)
    lookers.py       the threads that look, a few at a time
    dial.py          the way to one node, knocked at until it opens; refusals are kept
    watch.py         the link to one node, and the answers to its probes
    lane.py          what is measured of one node, every few seconds
    talk.py          what operators have evaluated in a node
    registry.py      the watches of all releases

What it never does: decide what becomes of a release (the core does), or speak the protocol (`beam.dist`).
"""
