"""The deciding part of relctld: events in, effects out.

What lives here: the vocabulary (`spec`, `state`, `events`, `effects`, `notes`), the life of one release (`lifecycle`
and what it is made of), all releases of the host together (`fleet`), and what an upgrade is, step by step (`upgrade`,
`switch`, `emulator`).
What may never: I/O, a clock, randomness, logging, asyncio. Time comes in as `now` (monotonic seconds), chance
as an event's field; import-linter holds it (see pyproject.toml).
"""
