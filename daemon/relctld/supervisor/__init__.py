"""The shell around the core: it turns what happens into events and effects into orders.

    daemon      the life of the daemon: up, over, down
    ground      what must be right before anything runs
    assembly    what the daemon is made of, and in which order
    shell       the inbox, `step`, the one timer
    interpreter carries out effects; decides nothing and awaits nothing. By kind of effect:
    vms         VMs launched and adopted, watched, signalled; how they end
    sweeps      what a VM leaves behind: swept; its crash dump
    asking      probes and hooks
    saving      states to the run directory, wants to the store
    parts       the answers to requests
    tasks       what takes time, by name
    launcher    what a launch takes, in a worker thread: user, directories, flavour, environment, gate
    managed     one release as the shell holds it: spec, state, and the handles of its VM
    inforce     the config in force
    reload      a changed config is taken up
    roster      which releases there are: taken up, joined and left by reloads, forgotten
    resume      what a former daemon left of a release
    door        the two endpoints, the server; shut in the face of who floods it
    services    what the supervisor does for the door
    overview    what `status` shows; gathered by `facts`: use of the machine, versions on disk, dropped output
    logplan     what the logger is told
    loggers     a logger where none runs

What may never be here: a decision about a release's life (`core`), a system call of its own (`host`).
"""
