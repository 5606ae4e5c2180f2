"""Upgrades and deployments, carried out: what `core.upgrade`, `core.switch` and `core.emulator` decide is
done to real trees and nodes.

ledger.py       the journal on disk, and what must be known beside it
memory.py       what was installed from which tarball
configuring.py  the configuration that a version would boot with, evaluated by that version's own code
differences.py  what differs between two configurations, without their secrets
disk.py         what a tree says, and every change that is made to it
site.py         the same of a root that may be missing, empty or damaged, for a switch by restart
node.py         what a node says, and all that is asked of it
stepping.py     what every transaction does: look, decide, write down, do; again
transaction.py  one hot upgrade: what it looks at, its acts
renewing.py     one whose relup restarts the emulator; laying.py: what a candidate boots with that is not in the tree
taking.py       a tarball copied, whose disk may hang
switching.py    one switch by restart: what it looks at, its acts
offer.py        a tarball or a version taken in and judged for a hot upgrade, and the plan that comes of it
deploying.py    the same for a switch by restart
making.py       which of the two, and what carries it out
tools.py        what each of them works with
course.py       the journal that launches go by, whatever the disk of the journals does
launches.py     what a launch must know of them
outcomes.py     how they end, for operators
removing.py     a version goes; leftovers.py: what is left of offers and attempts goes
neighbours.py   releases that share a root
versions.py     what is installed
running.py      one that is under way, and those who wait for it
runner.py       all that are under way, carried to their ends
registry.py     what is asked for, by operators and by the rest of relctld
"""
