"""What operations, activations, losses and optimizers compute: kernels on table and arena.

May import `simd`, not the top. Each file declares the kinds that it computes (`declared.py`).
"""
