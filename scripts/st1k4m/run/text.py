"""Sizes, durations and texts as people read them."""


def escape(text: str) -> str:
    """Cut and escape what the data may say, for it goes to people's terminals."""
    known = "".join(c for c in set(text) if not c.isprintable() and c != "\n")
    escapes = {ord(c): c.encode("unicode_escape").decode() for c in known}
    return text.translate(escapes)[:2000]


def one_line(text: str) -> str:
    """Return a text in one line: blanks, and what cannot be printed, become one blank."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def format_size(number: float) -> str:
    """Give bytes in GB, MB or kB, of 1,000: ``1,149.0 GB``."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if number >= scale:
            return f"{number / scale:,.1f} {unit}"
    return f"{number / 1e3:,.1f} kB"


def format_duration(seconds: float) -> str:
    """Give seconds as ``2 h 31 min``, ``5 min 3 s`` or ``12 s``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60:,} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
