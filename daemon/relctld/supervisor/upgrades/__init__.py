"""Hot upgrades, carried out: what `core.upgrade` decides is done here, to real trees and nodes.

ledger.py       the journal on disk, and what must be known beside it
configuring.py  the configuration that a version would boot with, evaluated by that version's own code
differences.py  what differs between two configurations, without their secrets
disk.py         what a tree says, and every change that is made to it
node.py         what a node says, and all that is asked of it
stepping.py     what every transaction does: look, decide, write down, do; again
transaction.py  one hot upgrade: what it looks at, its acts
offer.py        a tarball or a version taken in and judged, and the plan that comes of it
versions.py     what is installed
registry.py     the upgrades of all releases; nobody else is called from outside
"""
