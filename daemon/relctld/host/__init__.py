"""The Linux seam: what relctld needs of the system beyond reading and writing a file.

What lives here: processes (gate, spawn, reaper, identity), what contains them (containment), FIFOs, the records in
the run directory, the store, epmd, the logger's process, probes, systemd, terminals, writing into a release's tree
(tree, unpack, staging). What may never: decisions about a release's life (`core`), knowledge of Erlang beyond epmd's
port (`beam`).
"""
