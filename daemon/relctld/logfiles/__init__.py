"""What the logger leaves in a release's log directory: names, time index, and how it is read back.

Lives here: all that the logger, the daemon and relctl must agree on. Never here: a pipe, a policy, the daemon, a
setting; nothing but the standard library, and of that little: relctl's start and the logger's memory pay for it.

    DIR/current                                the file being written
    DIR/2026-11-22T00-37-49.123456Z.log        rotated at that time (UTC); names sort by time
    DIR/2026-11-22T00-37-49.123456Z.log.gz     the same, compressed
    DIR/2026-11-22T00-37-49.123456Z.times      its time index; DIR/current.times is that of `current`

    names.py    the names, and which files are logs
    times.py    the time index: what a logger adds to it, what a reader finds in it
    tail.py     reading: cursors, the last lines, what was written between two moments
"""
