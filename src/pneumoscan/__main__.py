"""`python -m pneumoscan` is `pneumoscan`."""

from pneumoscan.cli import main

main()
