"""One setting of the C library that decides how fast large arrays come and go."""

import ctypes

M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1  # malloc.h


def keep_freed_memory() -> bool:
    """Tell the C library to keep large freed blocks for the next array instead of giving them back to the kernel.

    By default every array of some megabytes is mapped anew and the kernel clears each of its pages on first touch, which
    costs up to 40% of a training step and a fifth of a film's decoding. The process keeps its peak memory until it
    ends. It holds for the whole process, so the command line and the training loop ask for it, and no import does.

    Returns:
        Whether it took; False where the C library is not glibc, and nothing else changes there.
    """
    try:
        library = ctypes.CDLL(None)
        return bool(
            library.mallopt(M_MMAP_THRESHOLD, 1 << 30) and library.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
        )
    except (OSError, AttributeError):
        return False
