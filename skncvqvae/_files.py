"""Files that are there as a whole or not at all."""

import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[str]:
    """Give a new name to write a file under, which becomes `path` when all of it is on the disk.

    Where the block fails, or the process or the machine stops, an older file stays as it was.

    Parameters
    ----------
    path : str or path-like
        A link stays one, to a new file.

    Yields
    ------
    str
        A name in the same folder.
    """
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise IsADirectoryError(f"{os.fspath(path)} is a folder.")
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f".{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        yield temporary
        # As readable as any new file, also where the block made one for the user alone.
        os.chmod(temporary, mode)
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    # Only then is the new name safe too. Not every system can do that with a folder.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
