"""The logger: one process per host that moves what VMs print from FIFOs into files.

Lives here: the pump, rotation, retention, compression. What they leave behind is `relctld.logfiles`'.
It knows FIFOs, files and a policy. Never here: anything of Erlang, of control, of the daemon; nothing but
the standard library is imported, and of that little, because each module is paid for on every host.

How bytes move, and why nothing is lost or doubled by SIGKILL at any instant:

    VM --write--> out (a FIFO) --splice--> claimed (a file on tmpfs) --write--> DIR/current

`out` is never spliced into a file on a disk: the kernel holds a pipe's lock for the length of such a write, so a
stalled disk would stall the VM beyond SIGKILL. Nor is there a second pipe in the middle: what it holds would vanish
with its last holder, and whoever holds it besides us could neither exit nor be replaced while a disk stalls (the
same lock).

    policy.py    LogPolicy, the plan, the counters; with
    marks.py     what the daemon wants said in a log: all that it imports of this package
    hub.py       the main thread: epoll, the plan, who is stuck, when to retry; touches no log directory
    feed.py      one release: what a worker does, and what the main thread does while a worker cannot
    writer.py    from `claimed` into the log: as it came, or with what is told beside it
    lines.py     times before lines, lines that are too long
    claimed.py   the bounded buffer in memory, with its journal
    memory.py    a file in memory that outlives its process
    tally.py     the counters of one release
    age.py       when a log is old
    logfile.py   DIR/current: open, check, where to cut, rotate
    rotated.py   retention of what was rotated
    compress.py  compression of it, in a process of its own; compressor.py starts and awaits that
    upkeep.py    what is done with a log beside writing it
    journal.py   what was logged, sent to systemd's journal
    pool.py      threads on demand
    kernel.py    FIFOs and the few system calls that `os` lacks
    report.py    one line on stderr, sd_notify
"""
