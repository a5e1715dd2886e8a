"""What is made of LLVM instructions: vectors, register tiles, atomics; and their twins in NumPy.

May import nothing else of this backend.
"""
