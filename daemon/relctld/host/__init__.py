"""The Linux seam: the only module tree of relctld that makes system calls.

What lives here: processes (gate, spawn, reaper, identity), what contains them (containment), FIFOs, the records in
the run directory, the store, epmd, probes, systemd, writing into a release's tree (tree, unpack, staging). What may
never: decisions about a release's life (`core`), knowledge of Erlang beyond epmd's port (`beam`).
"""
