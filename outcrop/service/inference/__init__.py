"""Answers from models, for every API: what is asked, engines in memory, turns at them, reservations."""
