"""Choose the BibTeX entries of the studies of selected slides."""

import re
from collections.abc import Iterable

#: An entry ends before the next line that begins an entry.
ENTRY = re.compile(r"^[ \t]*@\w+\s*\{.*?(?=^[ \t]*@\w+\s*\{|\Z)", re.MULTILINE | re.DOTALL)
PMID = re.compile(r"\bpmid\s*=\s*[{\"']?\s*(\d+)", re.IGNORECASE)
KEY = re.compile(r"@\w+\s*\{\s*([^,\s}]+)")


def citations(bib: str, pmids: Iterable[str]) -> str:
    """Choose the BibTeX entries of the studies.

    Parameters
    ----------
    bib
        BibTeX of all studies; the pmid of an entry is in its field ``pmid`` or in its key.
    pmids
        Cells of the catalogue: a number, several numbers separated by commas, or empty.

    Returns
    -------
    str
        The entries in the order of ``bib``, each once; then a comment for each pmid that has no
        entry.
    """
    wanted = {number for pmid in pmids for number in re.findall(r"\d+", pmid)}
    chosen, found = [], set()
    for match in ENTRY.finditer(bib.replace("\r\n", "\n")):
        entry = match[0].strip()
        key = KEY.match(entry)
        about = set(PMID.findall(entry)) | set(re.findall(r"\d{5,}", key[1] if key else ""))
        if about & wanted - found:
            chosen.append(entry)
            found |= about & wanted
    missing = sorted(wanted - found, key=int)
    chosen += [f"% PubMed {number}: not in the dataset's bibliography" for number in missing]
    return "".join(f"{entry}\n\n" for entry in chosen)
