"""What the system refused, as we say it."""

from __future__ import annotations

import errno
import os

import pytest

from relctld.host.errors import in_words

SAID = [
    (OSError(errno.EACCES, os.strerror(errno.EACCES), "/srv/web/bin/web"), "/srv/web/bin/web: permission denied"),
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "no space left on device"),
    (OSError("Lib is a link"), "Lib is a link"),
    (OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), "/opt/Web"), "/opt/Web: not a directory"),
    (ValueError("Web is no release"), "Web is no release"),
]


@pytest.mark.parametrize(("error", "words"), SAID)
def test_in_words(error: Exception, words: str) -> None:
    assert in_words(error) == words
