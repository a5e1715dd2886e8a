"""What speaks LLVM: vectors, register tiles, atomics, and their twins in NumPy.

Imports nothing else of this backend.
"""
