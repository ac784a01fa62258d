"""Make names that SpatialData allows."""

from collections.abc import Iterable


def element_name(text: str) -> str:
    """Return ``text`` with characters that SpatialData refuses in names replaced by underscores.

    Letters, digits, ``_``, ``.`` and ``-`` are kept. Some names of slides have a ``+``.
    """
    name = "".join(c if c.isalnum() or c in "_.-" else "_" for c in text)
    return f"x{name}" if name.startswith("__") or name in ("", ".", "..") else name


def renamed(names: Iterable[str]) -> dict[str, str]:
    """Return new names for the columns that SpatialData refuses.

    Parameters
    ----------
    names
        The columns of one table, in order, each once.

    Returns
    -------
    dict
        New names by old names. SpatialData refuses the characters that `element_name` replaces, the
        name ``_index``, and names that differ only in upper and lower case. Of such names the first
        is kept, and the others get a number, as anndata numbers names.
    """
    names = list(names)
    allowed = {name for name in names if name == element_name(name) and name != "_index"}
    new_names: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(names, key=lambda name: name not in allowed):
        base = "index" if name == "_index" else element_name(name)
        new, number = base, 1
        while new.lower() in taken:
            number += 1
            new = f"{base}-{number}"
        taken.add(new.lower())
        if new != name:
            new_names[name] = new
    return new_names
