"""The report on the benchmarks: `python -m bench.report RESULTS.json`.

`results` reads and checks the files, `tables` and `charts` show them, `__main__` writes the report.
"""
