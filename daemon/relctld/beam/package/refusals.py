"""Why a package is refused: one class, its kind for programs, its text and its hint for people."""

from __future__ import annotations

from enum import StrEnum, unique

_LONGEST = 120  # characters of a name that is shown


@unique
class Kind(StrEnum):
    """What is wrong; of each kind there is a test."""

    DAMAGED = "damaged"  # not a .tar.gz, cut off, or a file in it that cannot be read
    UNSAFE = "unsafe"  # would write elsewhere, or more than it says
    TOO_LARGE = "too_large"
    NO_RELEASE = "no_release"  # holds no version, or several
    OTHER_RELEASE = "other_release"
    OTHER_FLAVOUR = "other_flavour"
    BAD_VERSION = "bad_version"  # a version that cannot be a name
    SAME_VERSION = "same_version"
    OTHER_CONTENT = "other_content"  # there is something else of the same version
    UNKNOWN_VERSION = "unknown_version"  # not installed, or nothing is known of it
    INCOMPLETE = "incomplete"  # a file that a boot needs
    WRONG_MACHINE = "wrong_machine"
    OTHER_ERTS = "other_erts"
    NO_RELUP = "no_relup"
    NO_WAY = "no_way"  # a relup, but none from the running version
    BAD_RELUP = "bad_relup"
    BAD_BEAM = "bad_beam"


class PackageError(Exception):
    """A package, or a version on disk, that the running release cannot become; `hint` is the next step."""

    def __init__(self, kind: Kind, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.kind = kind
        self.hint = hint


def quoted(name: str) -> str:
    """A name from a file that nobody vouches for, fit to be shown."""
    return ascii(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…")
