"""Guesses in what encoding a text is that is not UTF-8 and of which nobody said.

Nothing in the bytes tells cp1252 from its many likes, so the guess goes by this rule, in order;
the same sample gives the same guess, and a declaration always wins over it:

1. Zero bytes at every second or fourth place, and text without control characters under it: UTF-16
   or UTF-32 without a byte order mark.
2. No two bytes beyond ASCII stand side by side (accents in words of Latin letters, symbols), and
   none begins a kana in Shift-JIS: cp1252.
3. charset-normalizer says how messy the text would be in each of the encodings that exports are
   written in. cp1252, unless another is clearly less so: then that one.
4. Where everything is messy, nothing is guessed.

Central European and Turkish text that is plausible as cp1252 too is taken for it, as are
ISO-8859-1 and -15: these have to be declared.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

_JUDGED_BYTES: Final = 32_000
_WIDE: Final = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
_CONTROLS: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd-\uffff]")
_LINE_ENDS: Final = re.compile("[\r\n]")
# None of these is the second byte of a character in any encoding that is weighed.
_CELL_ENDS: Final = re.compile(rb"[\r\n\t,;\"]+")
# Each stands for its likes: cp932 for Shift-JIS, cp949 for EUC-KR, gb18030 for GB2312 and GBK.
_WESTERN: Final = "cp1252"
_OTHERS: Final = (
    "cp1250", "cp1251", "koi8_r", "cp1253", "cp932", "euc_jp", "big5", "gb18030", "cp949",
)  # fmt: skip
_MOST_MESS: Final = 0.25
_CLEARLY: Final = 0.05
# Symbols, quotes and capitals of cp1252 inside a word: where half of the accented words have them
# it is another encoding (cp850, or an old Mac's).
_ODD_WORD: Final = re.compile(
    rb"[a-z\xe0-\xff][\x80-\x84\x86-\x8c\x8e\x93-\x95\x98\x99\x9b\x9f\xa1-\xa9\xab-\xb6\xb8\xb9"
    rb"\xbb-\xbf][a-z\xe0-\xff]"
)
# Two side by side, or the bytes before each kana in Shift-JIS.
_OTHER_SCRIPT: Final = re.compile(rb"[\x80-\xff]{2}|[\x81-\x84]")
# Whole words stand in other letters than Latin ones.
_NOT_LATIN: Final = frozenset({"cp1251", "koi8_r", "cp1253"})
_MIXED_WORD: Final = re.compile(rb"[A-Za-z][\x80-\xff]|[\x80-\xff][A-Za-z]")
_ACCENTED_WORD: Final = re.compile(rb"\w*[\x80-\xff]+\w*")


def wide_encoding(sample: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte order mark, where a sample can be nothing else.

    The sample is the whole file, or a multiple of four bytes of it.
    """
    if b"\x00" not in sample:
        return None
    for encoding in _WIDE:
        if len(sample) % (4 if encoding.startswith("utf-32") else 2):
            continue
        # A pair of surrogates may be cut in two at the end.
        text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(sample)
        first_line = _LINE_ENDS.split(text, maxsplit=1)[0]
        if (
            len(first_line) < len(text)
            and re.search("[ -~]", first_line)
            and not _CONTROLS.search(text)
        ):
            return encoding
    return None


def guess_encoding(sample: bytes) -> str | None:
    """Python's name of the encoding of a text's beginning; None where nothing is likely."""
    cells = [cell for cell in _CELL_ENDS.split(sample) if not cell.isascii()]
    judged = b"\n".join(cells)[:_JUDGED_BYTES]
    western = _is_western(judged)
    if western and not _OTHER_SCRIPT.search(judged):
        return _WESTERN
    messy = 1.0
    for encoding, mess in _by_mess(judged, (_WESTERN,)) if western else ():
        assert encoding == _WESTERN, encoding
        messy = mess
    words = len(_ACCENTED_WORD.findall(judged))
    mixed = 2 * len(_MIXED_WORD.findall(judged)) > words
    others = _by_mess(judged, tuple(e for e in _OTHERS if not (mixed and e in _NOT_LATIN)))
    if others and others[0][1] < messy - _CLEARLY:
        return codecs.lookup(others[0][0]).name
    return _WESTERN if messy <= _MOST_MESS else None


def _is_western(judged: bytes) -> bool:
    try:
        judged.decode(_WESTERN)
    except UnicodeDecodeError:
        return False
    return 2 * len(_ODD_WORD.findall(judged)) <= len(_ACCENTED_WORD.findall(judged))


def _by_mess(judged: bytes, encodings: tuple[str, ...]) -> list[tuple[str, float]]:
    """The encodings the text can be in and how messy it would be, from 0 to 1, best first."""
    from charset_normalizer import from_bytes

    matches = from_bytes(
        judged,
        cp_isolation=list(encodings),
        threshold=_MOST_MESS,
        preemptive_behaviour=False,
        enable_fallback=False,
    )
    return [(match.encoding, match.chaos) for match in matches]
