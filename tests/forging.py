"""Files with a right digest and anything inside: what an enemy, or a mistake, could write."""

import hashlib
import json

from safetensors.numpy import load, save

ZEROS = "0" * 64


def forged(head, arrays, keep_digest=False):
    """The bytes of a file with this header and these arrays, its digest made right."""
    if not keep_digest:
        head = {k: (ZEROS if k == "digest" else v) for k, v in head.items()}
    text = json.dumps(head)  # ASCII, so that lone surrogates stay escaped
    whole = save(arrays, {"fastnet": text})
    if keep_digest:
        return whole
    place = whole.index(ZEROS.encode())
    digest = hashlib.sha256(whole).hexdigest().encode()
    return whole[:place] + digest + whole[place + 64 :]


def reforged(whole, change, arrays=None):
    """The file `whole` with its header changed by `change(head)`, its digest made right."""
    length = int.from_bytes(whole[:8], "little")
    head = json.loads(json.loads(whole[8 : 8 + length])["__metadata__"]["fastnet"])
    change(head)
    return forged(head, load(whole) if arrays is None else arrays)
