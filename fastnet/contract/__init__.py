"""What crosses to a backend: plan, kinds, rows, state, runs, programs; and choosing a backend.

May import `definition` and what is below it. A backend imports this, and nothing above it.
"""
