"""`python -m pneumoscan` is `pneumoscan`."""

from pneumoscan.apps.cli import main

main()
