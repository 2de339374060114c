"""What the demo's processes have in common: Ctrl-C, temporary folders, environment."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

# Bytes of a path for temporary files below which multiprocessing can still name its sockets: the
# kernel allows 107, and a folder's and a socket's name are added.
LONGEST_FOLDER = 70


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Let processes that are started in here not hear Ctrl-C: it is for the parent, which then
    ends them. The parent hears it at the end of the ``with``. For the main thread."""
    heard: list[int] = []
    # The mask is what a started process inherits; another thread may take the signal all the same.
    handler = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if heard:
        raise KeyboardInterrupt


@contextmanager
def temporary_folder() -> Iterator[str]:
    """A new folder, which is gone after the ``with`` whenever Ctrl-C is pressed."""
    made = ExitStack()
    try:
        with deaf_to_ctrl_c():  # else it might be made and not be known here
            folder = tempfile.TemporaryDirectory(prefix="s3reader-demo-")
            made.callback(folder.cleanup)
        yield folder.name
    finally:
        with deaf_to_ctrl_c():  # else a part of it might stay
            made.close()


def leave_the_users_settings_alone() -> None:
    """The demo's S3 is on this machine: no profile, endpoint or proxy of the user's applies."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            del os.environ[name]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"


def leave_room_for_sockets() -> None:
    """Put temporary files elsewhere if the user's place for them has too long a name."""
    if len(os.fsencode(tempfile.gettempdir())) > LONGEST_FOLDER:
        tempfile.tempdir = os.environ["TMPDIR"] = "/tmp"
