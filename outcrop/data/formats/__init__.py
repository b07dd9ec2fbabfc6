"""Containers (how files hold rows) and shapes (how rows hold records), one file each; catalog.py lists them."""
