"""One file per family of findings, behind one interface."""
