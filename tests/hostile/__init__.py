"""What strangers may send: hostile files and addresses, as generators, and what must come of them."""
