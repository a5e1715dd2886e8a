"""The report on the benchmarks: `python -m bench.report RESULTS.json`.

`reading` checks the files, `measured` computes ratios, `tables` and `charts` and `panels` show
them, `document` holds the whole.
"""
