"""What relctl costs, beside its peers in the same run. `make bench`; what was seen stands in docs/benchmarks.md.

    run        the command: which benches, a table, a file if asked for
    restart    SIGKILL of a child until the first instruction of the next one
    head       a release that is slow to stop, and what that costs another
    idle       processor and memory with nothing to do
    status     wall time of the status command
    link       one question to a node, by each way of asking
    beside     a node that hangs or floods, and what that costs the others
    logs       what it costs to keep what programs print; captures: who keeps it
    nodes      a hundred real nodes, linked
    driver     what is asked of every tool; relctl and peers carry it out
    beats      the child that says when it began
    measure    /proc, and figures in words

Nothing here asserts: figures are printed as they are, the bad ones too. All that is started is ended by mark or pid.
"""
