"""Sizes and durations as people read them."""


def size(number: float) -> str:
    """Give bytes in GB, MB or kB, of 1,000: ``1,149.0 GB``."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if number >= scale:
            return f"{number / scale:,.1f} {unit}"
    return f"{number / 1e3:,.1f} kB"


def duration(seconds: float) -> str:
    """Give seconds as ``2 h 31 min``, ``5 min 3 s`` or ``12 s``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60:,} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
