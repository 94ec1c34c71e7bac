"""The commands that git and fsstore do together, and the driver that git starts."""
