"""Where bytes come from and go to: paths, `-`, pipes; nothing half-written, nothing overwritten unasked."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path

from nicodec.cli.interrupts import uninterrupted
from nicodec.errors import InputError, OutputError, OutputExistsError, UsageError

STANDARD = "-"
TEMPORARY = ".nicodec."  # without the output's own name, which may be as long as the system allows


def resolve_input(name: str | None) -> str:
    """The input's name, `-` where none is given and a pipe is on stdin.

    Raises:
        UsageError: none is given and stdin is a terminal.
    """
    if name is not None:
        return name
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("no input: name a file, or pipe one in")
    return STANDARD


def resolve_output(name: str | None, suggestion: str) -> str:
    """The output's name, `-` where none is given and stdout is a pipe.

    Raises:
        UsageError: stdout is a terminal, and no file is named.
    """
    if name not in (None, STANDARD):
        return str(name)
    if sys.stdout is None or sys.stdout.isatty():
        raise UsageError(f"no output: name a file with -o {suggestion}, or send stdout to a pipe")
    return STANDARD


def read_input(name: str) -> bytes:
    """All bytes of a file, or of stdin.

    Raises:
        InputError: missing, a folder, unreadable or empty.
    """
    if name == STANDARD:
        data = sys.stdin.buffer.read()
        if not data:
            raise InputError("stdin is empty; expected a file")
        return data
    if is_folder(name):
        raise InputError(f"{name} is a folder; expected a file")
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from None
    if not data:
        raise InputError(f"{name} is empty; expected a file")
    return data


def kind_of(name: str | Path) -> int:
    """The mode of what a name stands for, as in the module `stat`; 0: nothing, or the system does not say.

    Names that are too long and folders without permission to look into are for who opens them to complain of.
    """
    try:
        return Path(name).stat().st_mode
    except OSError:
        return 0


def is_file(name: str | Path) -> bool:
    """Whether a name stands for a file, of those that are kept on a disk."""
    return stat.S_ISREG(kind_of(name))


def is_folder(name: str | Path) -> bool:
    """Whether a name stands for a folder."""
    return stat.S_ISDIR(kind_of(name))


def refuse_existing(name: str, force: bool, source: str = STANDARD) -> None:
    """Refuse an output that is there already, before any work is done. Devices and pipes are written to as they are.

    Raises:
        OutputExistsError: it exists, and `force` is off.
        OutputError: it is the input, or a folder, or its parent is not one.
    """
    path = Path(name)
    if name == STANDARD or _special(path) or _is_descriptor(path):
        return
    try:
        exists = path.exists()
    except OSError as error:  # too long, or no permission to look
        raise OutputError(f"cannot write {name}: {error.strerror or error}") from None
    if source != STANDARD and exists and kind_of(source) and path.samefile(source):
        raise OutputError(f"{name} is the input itself; inputs are never overwritten")
    if path.is_dir():
        raise OutputError(f"{name} is a folder; expected the name of a file")
    if not path.parent.is_dir():
        raise OutputError(f"the folder {path.parent} does not exist")
    if exists and not force:
        raise OutputExistsError(f"{name} exists; use -f to overwrite it, or -o to name another")


def write_output(name: str, data: bytes, force: bool, like: str | None = None) -> None:
    """Write a file whole or not at all: to a temporary file beside it, then renamed.

    What it overwrites keeps its permissions, and its owner and group as far as this process may give them. A symbolic
    link stays a link; the other names of a hard link keep the old content.

    `like`: the file whose time of modification it gets.

    Raises:
        OutputExistsError, OutputError: see `refuse_existing`; or the disk refused.
    """
    if name == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    refuse_existing(name, force)
    try:
        if _special(Path(name)) or _is_descriptor(Path(name)):
            Path(name).write_bytes(data)
            return
        with uninterrupted():
            _write_whole(Path(name).resolve(), data, force, like)  # a link stays a link, what it points to is replaced
    except (OSError, RuntimeError) as error:  # RuntimeError: a link that leads to itself
        raise OutputError(f"cannot write {name}: {getattr(error, 'strerror', None) or error}") from None


def _write_whole(path: Path, data: bytes, force: bool, like: str | None) -> None:
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        _give_rights(temporary, path)
        if like not in (None, STANDARD):
            times = Path(str(like)).stat()
            os.utime(temporary, ns=(times.st_atime_ns, times.st_mtime_ns))
        if force or not _link(temporary, path):
            Path(temporary).replace(path)
            temporary = None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _give_rights(temporary: str, path: Path) -> None:
    """Owner, group and permissions of the file that is overwritten; those of any new file where there is none.

    `mkstemp` made the temporary file private, so at no moment can anyone read it who could not read the old one.
    """
    if not kind_of(path):
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        return
    old = path.stat()
    mode = stat.S_IMODE(old.st_mode)
    for owner, group in ((-1, old.st_gid), (old.st_uid, -1)) if hasattr(os, "chown") else ():  # not on Windows
        with contextlib.suppress(PermissionError):
            os.chown(temporary, owner, group)
    new = Path(temporary).stat()
    if new.st_uid != old.st_uid:
        mode &= ~(stat.S_ISUID | stat.S_ISGID)
    if new.st_gid != old.st_gid:  # what was the old group's right is not another's
        mode = mode & ~(stat.S_IRWXG | stat.S_ISGID) | (mode & stat.S_IRWXO) << 3
    Path(temporary).chmod(mode)


def _link(temporary: str, path: Path) -> bool:
    """Give a finished file its name, unless another process was quicker; False where there are no hard links.

    Raises:
        OutputExistsError: the name is taken by now.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise OutputExistsError(f"{path} was written by another process meanwhile; use -f to overwrite it") from None
    except OSError:
        return False
    return True


def is_stream(name: str) -> bool:
    """Whether an output has no suffix that could say a format: stdout, a device or a named pipe."""
    return name == STANDARD or _special(Path(name))


def _special(path: Path) -> bool:
    """Whether something is there that is neither a file nor a folder, such as /dev/null."""
    mode = kind_of(path)
    return mode != 0 and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _is_descriptor(path: Path) -> bool:
    """Whether a name is that of something that is open already, /dev/stdout or /dev/fd/63: a shell may have made it."""
    return path.parent in (Path("/dev"), Path("/dev/fd")) and path.is_symlink()
