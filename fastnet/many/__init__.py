"""Many models: trained at once, used as one, chosen from.

May import `model` and what is below it.
"""
