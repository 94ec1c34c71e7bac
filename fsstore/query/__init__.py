"""What callers ask for: paths, operands, filters, conditions and orders, and the relation that SQL sees.."""
