"""One setting of the C library that decides how fast large arrays come and go."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h


def keep_freed_memory() -> bool:
    """Tell the C library to keep large freed blocks for the next array instead of giving them back to the kernel.

    By default every array of some megabytes is mapped anew and the kernel clears each of its pages on first touch, which
    costs up to 40% of a training step. Threads share one heap, for the heaps of their own that the C library would give
    them are unmapped whenever they empty. The process keeps its peak memory until it ends. It holds for the whole
    process and for threads begun afterwards, so the training loop asks for it, and no import does. Reading films gains
    nothing from it.

    Returns:
        Whether it took; False where the C library is not glibc, and nothing else changes there.
    """
    try:
        library = ctypes.CDLL(None)
        settings = {M_MMAP_THRESHOLD: 1 << 30, M_TRIM_THRESHOLD: (1 << 31) - 1, M_ARENA_MAX: 1}
        return all(library.mallopt(name, value) for name, value in settings.items())
    except (OSError, AttributeError):
        return False
