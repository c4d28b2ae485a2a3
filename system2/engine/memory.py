"""How a CPU's memory is handled while decoding."""

import ctypes
from functools import lru_cache

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_LARGE = 1 << 30


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Have the C library keep what is freed for the next tensor; return whether it will.

    glibc hands large blocks back to the system at once, and a fresh page costs a CPU more than
    the arithmetic on it: drawing from 64 rows of 1,755 logits took seven times as long. The
    process does not shrink after its peak. Elsewhere than on glibc nothing happens.
    """
    try:
        library = ctypes.CDLL(None)
        return all(library.mallopt(what, _LARGE) for what in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
    except (OSError, AttributeError, TypeError):
        return False
