"""Makes the way from one build of a release to another: an appup for each application that has none, and the relup.

builds.py                two builds, trees or tarballs: what they list, what their files hold
appfile.py               NAME.app and NAME.appup
code.py, module.py       what a compiled module says of itself, and what its instructions show
rules.py                 one module, before and after: how it is changed, or why nobody should decide that for you
pair.py, appup.py        one application: which modules are not the same, and in which order they are changed
graph.py, translate.py   appups into what release_handler carries out, as systools does it
relup.py                 all of it: what is written, and what is not decided
output.py                into the tree, into another directory, into another tarball

Nothing is run. Reads files of two builds, writes files of one; knows nothing of nodes.
"""
