"""`relctl doctor`: what is wrong with this host and its releases, or will be, each with its mend.

Lives here: the checks, and how what they find is mended. Never here: what a release needs to start (`launcher`), to be
upgraded (`upgrades`) or to be told in `status` (`facts`); the checks use those.

    findings.py   the vocabulary: names, severities, meanings; docs/doctor.md is made of it
    patient.py    one release as a check sees it
    tree.py       what lies in its root          these four look, and change nothing;
    secrets.py    files that all may read        a finding brings its mend along
    node.py       its node, its cookie, epmd
    host.py       disks, logs, limits, the config, relctld itself
    doctor.py     asks them all, each within a limit of time, and mends on demand
"""
