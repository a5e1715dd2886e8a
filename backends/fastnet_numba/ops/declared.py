"""Which kinds this backend has: the files of this folder declare what they compute.

A kind's code is the contract's. A plan that needs a kind which is not declared is refused when it
is compiled.
"""

from fastnet.contract.kinds import TABLES

#: The kinds that are declared, by the contract's tables.
KINDS: dict[str, list[str]] = {table: [] for table in TABLES}


def code(table: str, kind: str) -> int:
    """Declare that this backend has `kind` of `table`, such as "tanh" of "activation"; its code."""
    KINDS[table].append(kind)
    return TABLES[table][kind]
