"""What a release's build holds, and whether a running release can become it. Reads; runs and writes nothing.

refusals.py              why a package is refused
relfile.py               NAME.rel: which applications make a version
releases.py              RELEASES: the versions that release_handler knows
relup.py, instructions.py   the way from one version to another
bootfile.py              start.boot: whether it boots the version
beamfile.py              what a compiled module says of itself
tarstream.py, tarball.py a .tar.gz, read once from its beginning to its end
tree.py                  what is installed
source.py, judge.py      whether and how the running version becomes another
"""
