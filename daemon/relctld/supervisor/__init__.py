"""The shell around the core: it turns what happens into events and effects into orders.

Its life
    daemon      up, over, down
    ground      what must be right before anything runs
    assembly    what the daemon is made of, and in which order
    ending      told to stop, or to give way
    succession  re-exec, this side; `trial`: what the installed code says first
What becomes of releases
    shell       the inbox, `step`, the one timer
    managed     one release as the shell holds it: spec, state, and the handles of its VM
    roster      which releases there are: taken up, joined and left by reloads, forgotten
    resume      what a former daemon left of a release
What effects are carried out by
    interpreter decides nothing and awaits nothing; `surprises`: what ends what went wrong by a bug
    vms         VMs launched and adopted, watched, signalled; how they end
    launcher    what a launch takes, in a worker thread, from a `recipe`; a gate may be on `standby`
    latecomers  VMs that systemd did not take at their gate
    sweeps      what a VM leaves behind: swept; its crash dump
    asking      probes and hooks
    saving      states to the run directory, wants to the store
    history     events to operators, the store and the log
    parts       the answers to requests
    tasks       what takes time, by name
    nodes/ upgrades/ doctor/
Logs
    logplan     what the logger is told, `marks` among it
    loggers     a logger where none runs; `losses`: what it dropped
    logreading  parts of logs for who may not read them
For those outside
    inforce     the config in force; `reload`: another one is taken up
    door        the two endpoints, the server; shut in the face of who floods it
    services    what the supervisor does for the door
    remote      remote shells, each a `session`
    overview    what `status` shows, of what `facts` finds
    announcer   systemd, its `fdstore`; Prometheus: `metrics`, `families`
    log         the daemon's own

What may never be here: a decision about a release's life (`core`), how a process is made, found or ended (`host`).
"""
