"""Training by several processes at once, which MPI starts and connects.

`world` says which processes there are, `Ranks` is how they talk, `Shares` which rows each takes in
a step, `sums` adds their gradients up, `memory` is what those on one machine share,
`DistributedProgram` does the steps, `DistributedTrainer` the fit, and `streaming` one of rows in
files. All ranks hold the same parameters and take the same steps: what differs is their rows.

May import the rest of `training`, but for `processes`, which chooses between this and one process.
"""
