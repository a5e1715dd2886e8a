"""`python -m fastnet` is `fastnet`."""

from fastnet.cli import main

main()
