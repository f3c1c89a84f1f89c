"""`python -m recurra` is `recurra`."""

from recurra.cli import main

main()
