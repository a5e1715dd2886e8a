"""What contestants look like: the same everywhere, told apart with any color vision, and without.

fastnet's backends have the strong colors of Okabe and Ito (2008), peers quieter ones; each has a
marker of its own besides.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Theme:
    """Colors of what is not data.

    Attributes:
        name: "light" or "dark".
        ending: of the files' names.
        paper: the background, as GitHub has it.
        ink: of text; `quiet` of what matters less, `line` of grids.
    """

    name: str
    ending: str
    paper: str
    ink: str
    quiet: str
    line: str


LIGHT = Theme("light", "", "#ffffff", "#1f2328", "#59636e", "#d8dee4")
DARK = Theme("dark", "-dark", "#0d1117", "#f0f6fc", "#9aa4af", "#2b323b")
THEMES = (LIGHT, DARK)


@dataclass(frozen=True)
class Look:
    """One contestant's.

    Attributes:
        light, dark: its color on either paper.
        marker: matplotlib's name of it.
    """

    light: str
    dark: str
    marker: str

    def color(self, theme: Theme) -> str:
        """On this paper."""
        return self.light if theme is LIGHT else self.dark


_LOOKS = {
    "numba": Look("#D55E00", "#F0772B", "D"),
    "cupy": Look("#009E73", "#1FC795", "s"),
    "numpy": Look("#0072B2", "#3D9FE0", "o"),
    "by hand": Look("#6B6969", "#817F7E", "X"),
    "torch": Look("#8D5983", "#DDB8FA", "^"),
    "torch fused": Look("#6B3F75", "#976297", "v"),
    "torch compile": Look("#9D7E95", "#B48DAB", ">"),
    "jax": Look("#8D4F11", "#EBBC3B", "P"),
    "scikit-learn": Look("#365343", "#689872", "p"),
    "onnxruntime": Look("#868EC7", "#B3CACF", "h"),
}

#: For contestants that nobody thought of, in turn.
_OTHERS = tuple(Look("#767676", "#A0A0A0", marker) for marker in "<*d8H")


def look(contestant: str) -> Look:
    """The contestant's, always the same."""
    known = _LOOKS.get(contestant)
    return known or _OTHERS[sum(contestant.encode()) % len(_OTHERS)]
