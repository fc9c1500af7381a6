"""Benches of collection and statistics; `blurtrain bench` runs them."""
