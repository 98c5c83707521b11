"""What the rows of a manifest say that its user should know before a split rests on them."""
