"""`python -m relctld.logger.compress DIR PARENT`: compress what is rotated in DIR; what was in the way, on stdout.

DIR/….log.gz.PID.tmp   being compressed; what a kill left is removed by the next logger

A process of its own, of the lowest priority: a thread of that priority would hold Python's lock while others have the
processor, and with it everything that the logger does. It ends with the logger that started it; so no two share a name,
and where two are at work for a moment, each renames a whole file of its own.
"""

import contextlib
import os
import sys
import zlib

from relctld.logfiles.names import Rotated, is_stem, listing

_CHUNK = 1 << 18


def is_temporary(name: str) -> bool:
    """Is this the name of a file that is being compressed, or was?"""
    stem, found, _ = name.partition(".log.gz.")
    return bool(found) and name.endswith("tmp") and is_stem(stem)


def compress(directory: str, log: Rotated, parent: int) -> None:
    """Replace X.log by X.log.gz; complete and on the disk under its name before the original goes."""
    source_path = os.path.join(directory, log.name)
    target_path = os.path.join(directory, log.stem + ".log.gz")
    temporary = f"{target_path}.{os.getpid()}.tmp"
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with (
            open(os.open(source_path, os.O_RDONLY | flags), "rb", buffering=0) as source,
            open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flags, 0o640), "wb") as target,
        ):
            gzip = zlib.compressobj(6, zlib.DEFLATED, 31)
            while data := source.read(_CHUNK):
                if os.getppid() != parent:
                    raise FileNotFoundError(0, "the logger is gone")
                target.write(gzip.compress(data))
            target.write(gzip.flush())
            target.flush()
            os.fsync(target.fileno())
        os.stat(source_path, follow_symlinks=False)  # gone = retention deleted it meanwhile: then no .gz either
        os.rename(temporary, target_path)
        _sync(directory)
        os.unlink(source_path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _sync(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_left(directory: str, pid: int) -> None:
    """Remove what this process, which was killed, left."""
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            if is_temporary(name) and name.endswith(f".{pid}.tmp"):
                os.unlink(os.path.join(directory, name))


def compress_all(directory: str, parent: int) -> str | None:
    """Compress what is rotated in the directory; why that was not done with the last one that failed."""
    trouble = None
    try:
        waiting = [log for log in listing(directory) if log.name.endswith(".log")]
    except OSError as err:
        return f"cannot compress {directory}: {err.strerror}"
    for log in waiting:
        if os.getppid() != parent:
            break  # the next logger has a process of its own at it
        try:
            compress(directory, log, parent)
        except FileNotFoundError:
            pass  # deleted meanwhile, or left to the next logger
        except OSError as err:
            trouble = f"cannot compress {os.path.join(directory, log.name)}: {err.strerror}"
    return trouble


if __name__ == "__main__":
    os.nice(19)
    os.write(1, (compress_all(sys.argv[1], int(sys.argv[2])) or "").encode())
