"""Other people's clients, as they come, against the broker."""
