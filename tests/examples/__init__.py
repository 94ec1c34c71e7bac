"""Programs that show fsstore at work, one for each framework; they run without a network."""
