"""How functions are compiled."""

from numba import njit


def compiled(function):
    """Compile at the first call, without the interpreter's lock; keep the result where possible.

    Numba raises where no folder for its cache can be written (a read-only container without a
    home). Such a job compiles for itself. No folder under /tmp is tried: the cache is pickled
    code, and what another user could have put there must not be run.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)
