#!/usr/bin/env python3
"""old_kernel.py COMMAND...: become COMMAND where move_mount(2) knows no MOVE_MOUNT_BENEATH, as in Linux before 6.5:
it answers EINVAL then. By a filter of system calls that all children have too. Needs root."""

import ctypes
import os
import struct
import sys

MOVE_MOUNT, MOVE_MOUNT_BENEATH, EINVAL = 429, 0x200, 22
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
LOAD, JUMP_IF_EQUAL, JUMP_IF_SET, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
# Where the number of the call and the low half of its fifth argument stand in struct seccomp_data.
NUMBER, FLAGS = 0, 16 + 4 * 8

program = [
    (LOAD, 0, 0, NUMBER),
    (JUMP_IF_EQUAL, 0, 3, MOVE_MOUNT),
    (LOAD, 0, 0, FLAGS),
    (JUMP_IF_SET, 0, 1, MOVE_MOUNT_BENEATH),
    (RETURN, 0, 0, ERRNO | EINVAL),
    (RETURN, 0, 0, ALLOW),
]
steps = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
described = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(steps)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, described, 0, 0) != 0:
    sys.exit(f"old_kernel.py: the filter is refused: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])
