"""Bad records of every kind, as data: the tests send them, and docs/reference/bad-input.md shows what is answered."""
