"""What an operation of a plan does, as kernels over the table and the arena.

May import `simd`.
"""
