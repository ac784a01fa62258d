"""Compile functions with numba."""

from numba import njit


def compiled(function):
    """Compile a function at its first call, without the GIL; cache the result where possible.

    Numba raises RuntimeError if it cannot write to any cache folder (for example in a read-only
    container without a home). The function is then compiled in each job. Folders under /tmp are
    not used: the cache is pickled code, and another user could have put code there.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)
