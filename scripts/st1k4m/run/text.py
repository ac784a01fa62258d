"""Format sizes, durations and texts for people."""


def escape(text: str) -> str:
    """Escape unprintable characters and cut the text: it can contain data, and is printed."""
    known = "".join(c for c in set(text) if not c.isprintable() and c != "\n")
    escapes = {ord(c): c.encode("unicode_escape").decode() for c in known}
    return text.translate(escapes)[:2000]


def one_line(text: str) -> str:
    """Return a text as one line: each run of blanks and unprintable characters is one space."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def format_size(number: float) -> str:
    """Return a number of bytes in GB, MB or kB (steps of 1,000): ``1,149.0 GB``."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if number >= scale:
            return f"{number / scale:,.1f} {unit}"
    return f"{number / 1e3:,.1f} kB"


def format_duration(seconds: float) -> str:
    """Return seconds as ``2 h 31 min``, ``5 min 3 s`` or ``12 s``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60:,} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
