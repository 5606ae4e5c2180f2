"""All that knows Erlang.

    term/      Erlang's terms: in Python, on the wire, as text
    dist/      the distribution: from a node's arguments to calls over a link
    package/   what a build holds, what is installed, and whether one can become the other
    flavour.py, launch.py, layout.py, vmargs.py    what lies in a release's tree, and how it is launched
    remote.py                                      its own remote shell
    crashdump.py                                   what a VM left as its last word
    telemetry.py, slowlane.py                      what a node tells of itself

What never lives here: system calls beyond reading files and speaking to a socket (`host`), and decisions (`core`).
"""
