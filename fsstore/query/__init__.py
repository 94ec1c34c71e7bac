"""What callers ask for: paths, operands, filters and orders; what an index answers of it, and what SQL sees."""
