"""The deciding part of relctld: events in, effects out.

What lives here: the vocabulary (`model`, `events`, `effects`), the life of one release (`lifecycle`,
`restarts`, `exits`), and all releases of the host together (`fleet`).
What may never: I/O, a clock, randomness, logging, asyncio. Time comes in as `now` (monotonic seconds), chance
as an event's field; import-linter holds it (see pyproject.toml).
"""
