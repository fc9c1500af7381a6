"""Becomes another program that does not outlive its parent: `python leash.py PARENT CORES COMMAND...`.

The kernel sends it SIGTERM when the thread of PARENT that started it has ended, however that ended (kill -9 too); a
training then saves and stops. CORES, as 0,3, are the processor cores that it may use. Run by its path, without site
packages (-I -S), it costs about half of what a bare start of Python does, and no folder of the user's can take the
place of its package.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>; the setting outlives execv


def main(parent: int, cores: list[int], command: list[str]) -> None:
    """Raises OSError where the kernel refuses; exits with 1 where the parent has ended already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM)):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it ended before the kernel was asked
        sys.exit(1)
    os.sched_setaffinity(0, cores)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # an actor of Ray's blocks what the training is to hear
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(core) for core in sys.argv[2].split(",")], sys.argv[3:])
