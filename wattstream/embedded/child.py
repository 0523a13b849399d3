"""Becomes a supervised program: takes its lock, drops to its user, asks to end with the supervisor, and executes it.

Run by its path, with the arguments LOCK SUPERVISOR SIGNAL USER PROGRAM..., where USER is uid:gid or empty. This is a
process of its own, not code between fork and exec, because the supervisor has threads.

The lock is on an open file that the program inherits, and its children from it: it is held for exactly as long as any
of them lives, whatever becomes of the supervisor.
"""

import ctypes
import fcntl
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def become(lock: str, supervisor: int, number: int, user: str, argv: list[str]) -> None:
    """Replace this process by `argv`, which is sent signal `number` when process `supervisor` is gone."""
    held = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.ftruncate(held, 0)
    os.write(held, f"{os.getpid()} {number}".encode())
    os.set_inheritable(held, True)
    if user:
        uid, gid = (int(part) for part in user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After the change of user, which clears it.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != supervisor:
        sys.exit("the supervisor is gone")
    # Python ignores these two, and a program inherits that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.execv(argv[0], argv)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    become(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:])
