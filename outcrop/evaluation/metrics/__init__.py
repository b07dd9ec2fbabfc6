"""One file per metric; catalog.py lists them."""
