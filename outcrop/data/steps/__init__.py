"""Steps of a preparation: each one alone changes, drops or only counts."""
