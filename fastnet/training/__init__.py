"""Training: settings, the trainer and its strategies, state, history, checkpoints, L-BFGS.

May import `contract` and what is below it; it does not know `Model`.
"""
