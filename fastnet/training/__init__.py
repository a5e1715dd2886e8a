"""A fit: settings, trainer, state, interrupts, history, progress, checkpoints, L-BFGS.

May import `contract` and what is below it; it does not know `Model`.
"""
