"""The Erlang distribution, as a hidden node: sans-I/O machines below, one asyncio connection above.

    arguments.py, cookies.py, tls.py    what a living VM was started with, and what it takes to be let in (blocking)
    epmd.py                             the port of a node
    handshake.py, frames.py             bytes in, bytes out
    refusals.py                         why a node cannot be spoken to
    channel.py                          one connection: dial, ticks, frames
    spawn.py, link.py                   calls
"""
