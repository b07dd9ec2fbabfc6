"""Bodies of InvokeModel: one file per format, pure functions of JSON; catalog.py lists them."""
