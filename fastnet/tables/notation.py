"""How numbers are written in text: 1234.5, 1,234.50 or 1.234,5, and with what marks beside them.

A table's text is read in one notation. Numbers in another, or with a mark such as $ or %, are
recognized, so that errors can name the remedy, and never converted by a guess.
"""

import re
from typing import TYPE_CHECKING

from fastnet.advice import setting
from fastnet.errors import DefinitionError
from fastnet.extras import polars
from fastnet.records import Record

if TYPE_CHECKING:
    import polars as pl

#: A space between groups of digits may be one of these: usual, no-break, thin, narrow no-break.
_SPACES = " \u00a0\u2009\u202f"

#: What stands between groups of digits somewhere: 1,234 1.234 1'234 1 234 1_234.
_BETWEEN = ",.'\u2019_" + _SPACES

_DIGITS = (
    rf"(?:\d{{1,3}}(?:[{_BETWEEN}]\d{{2,3}})*[{_BETWEEN}]\d{{3}}|\d+)(?:[.,]\d*)?(?:[eE][+-]?\d+)?"
    r"|[.,]\d+"
)
#: Signs of comparison, currencies (with letters before them, as in US$), percent and the like.
_BEFORE = r"[-+\u2212<>\u2264\u2265~\u2248=(\s]*(?:[A-Z]{0,2}\p{Sc})?[-+\u2212\s]*"
_WRITTEN = rf"^{_BEFORE}(?:{_DIGITS})\s*(?:[%\u2030)]|\p{{Sc}})*\s*$"
#: Other ways to write a minus, and what to do about them.
_MINUS = {"\u2212": "write - for \u2212"} | dict.fromkeys("()", "write -1 for (1)")
_COMPARED = r"^[<>\u2264\u2265~\u2248=]"


class Notation(Record):
    """How the numbers of a table are written in text.

    Args:
        decimal: the mark before the fraction, one character.
        thousands: the mark between groups of digits, one character; empty: none.

    Raises:
        DefinitionError: for anything else, or if both are the same.
    """

    decimal: str = "."
    thousands: str = ""

    def __post_init__(self) -> None:
        for name, value, most in (
            ("decimal", self.decimal, "one character"),
            ("thousands", self.thousands, "one character, or nothing"),
        ):
            single = isinstance(value, str) and len(value) == 1
            usable = single and not (value.isalnum() or value in '+-"\n\r')
            if not (usable or (name == "thousands" and value == "")):
                raise DefinitionError(
                    f"{name} is {value!r}; it must be {most}, such as ',' or '.', and no letter, "
                    "digit, sign or quote."
                )
        if self.decimal == self.thousands:
            raise DefinitionError(f"decimal and thousands are both {self.decimal!r}; one differs.")
        if self.decimal.isspace():
            raise DefinitionError("decimal is a space; it must be a mark such as ',' or '.'.")

    @property
    def usual(self) -> bool:
        """Whether numbers are written as Python writes them."""
        return self == Notation()

    def to_usual(self, words: "pl.Series") -> "pl.Series":
        """Rewrite numbers as Python writes them, 1.234,5 as 1234.5.

        Returns:
            Text without a digit as it was; null for text with digits that is no number.
        """
        if self.usual:
            return words
        decimal, group = re.escape(self.decimal), re.escape(self.thousands)
        if self.thousands and self.thousands in _SPACES:
            group = f"[{_SPACES}]"
        whole = rf"\d{{1,3}}(?:{group}\d{{2,3}})*{group}\d{{3}}|\d+" if group else r"\d+"
        number = rf"^\s*[+-]?(?:(?:{whole})(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][+-]?\d+)?\s*$"
        found = words
        if group:
            found = found.str.replace_all(group, "")
        found = found.str.replace_all(self.decimal, ".", literal=True)
        digits = words.str.contains(r"\d").fill_null(False)
        kept = words.set(digits, None)
        return found.zip_with(words.str.contains(number).fill_null(False), kept)


def written(words: "pl.Series") -> "pl.Series":
    """Which texts are numbers in some notation, perhaps with a mark beside them: bool."""
    return words.str.contains(_WRITTEN)


def compared(words: "pl.Series") -> "pl.Series":
    """Which texts begin with a sign of comparison, such as <1.0: bool."""
    return words.str.contains(_COMPARED)


def remedy(words: "pl.Series", notation: Notation) -> str:
    """What makes numbers of texts that are `written`, such as "strip '$'" or "add --decimal ,"."""
    marks = _marks(words[0])
    strip = [repr(mark) for mark in marks if mark not in _MINUS]
    steps = [f"strip {' and '.join(strip)}"] if strip else []
    steps += dict.fromkeys(_MINUS[mark] for mark in marks if mark in _MINUS)
    if (option := _options(words, notation)) and (_between(words[0]) or not marks):
        steps.append(option)
    return " and ".join(steps) or "correct it"


def _marks(word: str) -> list[str]:
    """What stands beside the number, each once; the letters before a sign belong to it."""
    rest = re.sub(rf"[\d{_BETWEEN}]+(?:[eE][+-]?\d+)?|(?<![\w.])[+-](?=[\d.,])", " ", word.strip())
    return list(dict.fromkeys(rest.split()))


def _between(word: str) -> str:
    """The number without what stands beside it."""
    found = re.search(rf"\d[\d{_BETWEEN}]*", word)
    digits = found[0].strip(_SPACES) if found else ""
    return re.sub(r"\d", "", digits)


def _options(words: "pl.Series", notation: Notation) -> str:
    """The options for the marks that stand between the digits; empty where there are none."""
    pl = polars()
    bare = words.str.extract(rf"(\d[\d{_BETWEEN}]*)", 1).str.strip_chars(_SPACES)
    bare = bare.filter(bare.str.contains(rf"[{_BETWEEN}]")).head(1000)
    comma = group = ""
    sure = False
    for word in bare.cast(pl.String).to_list():
        marks = re.sub(r"\d", "", word)
        last, others = marks[-1], set(marks[:-1])
        if last in others:  # twice: between groups
            group, sure = last, True
        elif others:
            comma, group, sure = last, marks[0], True
        elif last not in ".,":
            group, sure = last, True
        elif re.fullmatch(rf"\d{{1,3}}\{last}\d{{3}}", word):
            group = group or last
        else:
            comma, sure = last, True
    if comma == group:
        group = ""
    if group in _SPACES and group:
        group = " "
    if group == "." and not comma:
        comma = ","
    options = []
    if comma and comma != notation.decimal:
        options.append(setting("decimal", comma))
    if group and group != notation.thousands:
        options.append(setting("thousands", group))
    if not options:
        return ""
    if group and not sure and len(options) == 1:
        return f"add {options[0]} (or {setting('decimal', group)} if a fraction follows it)"
    return f"add {' '.join(options)}"
