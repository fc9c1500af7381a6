"""Parts of one's own, for blurtrain."""
