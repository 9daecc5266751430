"""Dead letters as an operator works with them: found, shown, sent again once."""
